package embed_test

import (
	"testing"

	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/optest"
)

func BenchmarkEmbed(b *testing.B) {
	const vocab, d, t = 32000, 896, 2048
	r := optest.Rand(1)
	table, out, ids := make([]float32, vocab*d), optest.Normal(r, t*d, 1), make([]int32, t)
	for i := range ids {
		ids[i] = int32(r.IntN(vocab))
	}
	dev := optest.CPU(b, 2)
	b.Run("forward", func(b *testing.B) {
		for b.Loop() {
			embed.Forward(dev, optest.Dev(table), ids, optest.Dev(out), d)
		}
		optest.GBs(b, 2*4*t*d)
	})
	b.Run("backward", func(b *testing.B) {
		for b.Loop() {
			embed.Backward(dev, optest.Dev(out), ids, optest.Dev(table), d)
		}
		optest.GBs(b, 3*4*t*d)
	})
}
