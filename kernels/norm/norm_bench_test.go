package norm_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/optest"
)

func BenchmarkNorm(b *testing.B) {
	const rows, d = 2048, 896
	r, f := optest.Rand(1), optest.Dev
	x, w, y := optest.Normal(r, rows*d, 1), optest.Normal(r, d, 1), make([]float32, rows*d)
	rstd, dx, dw := make([]float32, rows), make([]float32, rows*d), make([]float32, d)
	for _, threads := range []int{1, 2} {
		dev := optest.CPU(b, threads)
		b.Run(fmt.Sprintf("forward/threads=%d", threads), func(b *testing.B) {
			for b.Loop() {
				norm.Forward(dev, f(x), f(w), 1e-5, f(y), f(rstd), d)
			}
			optest.GBs(b, 2*4*rows*d)
		})
		b.Run(fmt.Sprintf("backward/threads=%d", threads), func(b *testing.B) {
			for b.Loop() {
				norm.Backward(dev, f(y), f(x), f(w), f(rstd), f(dx), driver.F32{}, d)
			}
			optest.GBs(b, 3*4*rows*d)
		})
		b.Run(fmt.Sprintf("backward+dw/threads=%d", threads), func(b *testing.B) {
			for b.Loop() {
				norm.Backward(dev, f(y), f(x), f(w), f(rstd), f(dx), f(dw), d)
			}
			optest.GBs(b, 3*4*rows*d)
		})
	}
}
