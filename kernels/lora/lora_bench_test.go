package lora_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/lora"
	"dataflex.dev/dataflex/kernels/optest"
)

func BenchmarkLoRA(b *testing.B) {
	for _, s := range [][4]int{{1024, 896, 896, 8}, {1024, 896, 4864, 8}, {1024, 4864, 896, 8}, {1024, 896, 4864, 64}} {
		p := newProblem(1, s[0], s[1], s[2], s[3])
		f := optest.Dev
		w := lora.Branch{
			A: gemm.Dense(f(p.a), p.r, p.in), B: gemm.Dense(f(p.b), p.out, p.r), Scale: p.scale,
			DA: gemm.Dense(f(p.da), p.r, p.in), DB: gemm.Dense(f(p.db), p.out, p.r),
		}
		x, dx, y, dy := gemm.Dense(f(p.x), p.t, p.in), gemm.Dense(f(p.dx), p.t, p.in), gemm.Dense(f(p.y), p.t, p.out), gemm.Dense(f(p.dy), p.t, p.out)
		u, v := gemm.Dense(f(make([]float32, p.t*p.r)), p.t, p.r), gemm.Dense(f(make([]float32, p.t*p.r)), p.t, p.r)
		flops := 4 * float64(p.t) * float64(p.in+p.out) * float64(p.r)
		for _, threads := range []int{1, 2} {
			dev := optest.CPU(b, threads)
			b.Run(fmt.Sprintf("forward/%v/threads=%d", s, threads), func(b *testing.B) {
				for b.Loop() {
					w.Forward(dev, x, u, y)
				}
				optest.GFLOPS(b, flops/2)
			})
			b.Run(fmt.Sprintf("backward/%v/threads=%d", s, threads), func(b *testing.B) {
				for b.Loop() {
					w.Backward(dev, dy, v, dx)
					w.Gradient(dev, dy, x, u, v)
				}
				optest.GFLOPS(b, flops)
			})
		}
	}
}
