package embed_test

import (
	"testing"

	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/optest"
)

func TestForwardBackward(t *testing.T) {
	r := optest.Rand(1)
	const vocab, d, n = 17, 130, 200
	table, dout, before := optest.Normal(r, vocab*d, 1), optest.Normal(r, n*d, 1), optest.Normal(r, vocab*d, 1)
	ids := make([]int32, n)
	plain, ref := append([]float32(nil), before...), optest.To[float64](before)
	want := make([]float32, n*d)
	for i := range ids {
		ids[i] = int32(r.IntN(vocab))
		for j := range d {
			at := int(ids[i])*d + j
			want[i*d+j] = table[at]
			plain[at] += dout[i*d+j]
			ref[at] += float64(dout[i*d+j])
		}
	}
	for _, threads := range optest.Threads {
		dev := optest.CPU(t, threads)
		out, grad := make([]float32, n*d), append([]float32(nil), before...)
		embed.Forward(dev, optest.Dev(table), ids, optest.Dev(out), d)
		embed.Backward(dev, optest.Dev(dout), ids, optest.Dev(grad), d)
		optest.Same(t, "out", out, want)
		optest.Same(t, "dtable in token order", grad, plain)
		optest.Within(t, "dtable", grad, plain, ref)
	}
}

func TestPanics(t *testing.T) {
	dev := optest.CPU(t, 1)
	x := make([]float32, 6)
	optest.Panics(t, "embed: ids[1] = 3, the table has 3 rows", func() {
		embed.Forward(dev, optest.Dev(x), []int32{0, 3}, optest.Dev(x[:4]), 2)
	})
	optest.Panics(t, "embed: out is not [T, d]", func() {
		embed.Forward(dev, optest.Dev(x), []int32{0}, optest.Dev(x[:4]), 2)
	})
}
