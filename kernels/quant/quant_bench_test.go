package quant_test

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/optest"
)

// BenchmarkMultiply is a product of 256 rows with SmolLM2-135M's up_proj, and the same with
// the matrix in float32.
func BenchmarkMultiply(b *testing.B) {
	const m, rows, cols = 256, 1536, 576
	dev := optest.CPU(b, 1)
	x := optest.Normal(optest.Rand(1), rows*cols, 0.05)
	a := gemm.Dense(optest.Dev(optest.Normal(optest.Rand(2), m*cols, 1)), m, cols)
	c := gemm.Dense(optest.Dev(make([]float32, m*rows)), m, rows)
	b.Run("f32", func(b *testing.B) {
		w := gemm.Dense(optest.Dev(x), rows, cols)
		for b.Loop() {
			gemm.Run(dev, gemm.NT, 1, a, w, 0, c)
		}
		optest.GFLOPS(b, 2*m*rows*cols)
	})
	for _, name := range []string{"nf4", "double", "int8"} {
		f := formats[name]
		mem, err := dev.Alloc(f.Bytes(rows, cols))
		if err != nil {
			b.Fatal(err)
		}
		w := f.In(mem, rows, cols)
		if err := w.Upload(dev, encode(f, x, rows, cols)); err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w.Multiply(dev, gemm.NT, 1, a, 0, c)
			}
			optest.GFLOPS(b, 2*m*rows*cols)
		})
		b.Run("decode/"+name, func(b *testing.B) {
			out := gemm.Dense(driver.FromHost(make([]float32, rows*cols)), rows, cols)
			b.SetBytes(rows * cols)
			for b.Loop() {
				w.Decode(dev, 0, rows, 0, cols, out)
			}
		})
	}
}
