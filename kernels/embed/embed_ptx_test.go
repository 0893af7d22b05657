package embed_test

import (
	"testing"

	"dataflex/kernels/embed"
	"dataflex/kernels/optest"
)

// TestPTX: the host twin's bits, rows that many tokens share included.
func TestPTX(t *testing.T) {
	dev, host, r := optest.Sim(t), optest.CPU(t, 1), optest.Rand(3)
	for _, c := range []struct{ vocab, d, n, shift int }{{17, 130, 200, 0}, {5, 516, 40, 0}, {300, 64, 100, 1}, {2, 1, 1, 0}} {
		table, dout, before := optest.Normal(r, c.vocab*c.d, 1), optest.Normal(r, c.n*c.d, 1), optest.Normal(r, c.vocab*c.d, 1)
		ids := make([]int32, c.n)
		for i := range ids {
			ids[i] = int32(r.IntN(c.vocab))
		}
		out, grad := make([]float32, c.n*c.d), append([]float32(nil), before...)
		embed.Forward(host, optest.Dev(table), ids, optest.Dev(out), c.d)
		embed.Backward(host, optest.Dev(dout), ids, optest.Dev(grad), c.d)
		o, g := optest.In(t, dev, make([]float32, c.n*c.d), c.shift), optest.In(t, dev, before, c.shift)
		embed.Forward(dev, optest.In(t, dev, table, c.shift), ids, o, c.d)
		embed.Backward(dev, optest.In(t, dev, dout, c.shift), ids, g, c.d)
		optest.Same(t, "out", optest.Out(t, dev, o), out)
		optest.Same(t, "dtable", optest.Out(t, dev, g), grad)
	}
}
