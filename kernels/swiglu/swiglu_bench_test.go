package swiglu_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/swiglu"
)

func BenchmarkSwiGLU(b *testing.B) { benchmark(b, swiglu.SiLU) }

func BenchmarkGEGLU(b *testing.B) { benchmark(b, swiglu.GELUTanh) }

func benchmark(b *testing.B, act swiglu.Activation) {
	const n = 512 * 4864
	r, f := optest.Rand(1), optest.Dev
	gate, up, dout := optest.Normal(r, n, 1), optest.Normal(r, n, 1), optest.Normal(r, n, 1)
	out, dgate := make([]float32, n), make([]float32, n)
	for _, threads := range []int{1, 2} {
		dev := optest.CPU(b, threads)
		b.Run(fmt.Sprintf("forward/threads=%d", threads), func(b *testing.B) {
			for b.Loop() {
				swiglu.Forward(dev, act, f(gate), f(up), f(out))
			}
			optest.GBs(b, 3*4*n)
		})
		b.Run(fmt.Sprintf("backward/threads=%d", threads), func(b *testing.B) {
			for b.Loop() {
				swiglu.Backward(dev, act, f(dout), f(gate), f(up), f(dgate), f(out))
			}
			optest.GBs(b, 5*4*n)
		})
	}
}
