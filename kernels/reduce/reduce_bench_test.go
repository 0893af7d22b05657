package reduce_test

import (
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/reduce"
)

func BenchmarkReduce(b *testing.B) {
	const n = 8 << 20
	r, f := optest.Rand(1), optest.Dev
	x, y := optest.Normal(r, n, 1), make([]float32, n)
	dev := optest.CPU(b, 2)
	b.Run("SumSquares", func(b *testing.B) {
		for b.Loop() {
			reduce.SumSquares(dev, f(x))
		}
		optest.GBs(b, 4*n)
	})
	b.Run("Finite", func(b *testing.B) {
		for b.Loop() {
			reduce.Finite(dev, f(x))
		}
		optest.GBs(b, 4*n)
	})
	b.Run("Axpy", func(b *testing.B) {
		for b.Loop() {
			reduce.Axpy(dev, 1e-9, f(x), f(y))
		}
		optest.GBs(b, 3*4*n)
	})
}
