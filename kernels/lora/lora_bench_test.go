package lora_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/kernels/lora"
	"dataflex.dev/dataflex/kernels/optest"
)

func BenchmarkLoRA(b *testing.B) {
	for _, s := range [][4]int{{1024, 896, 896, 8}, {1024, 896, 4864, 8}, {1024, 4864, 896, 8}, {1024, 896, 4864, 64}} {
		p := newProblem(1, s[0], s[1], s[2], s[3])
		u, v, f := make([]float32, p.t*p.r), make([]float32, p.t*p.r), optest.Dev
		flops := 4 * float64(p.t) * float64(p.in+p.out) * float64(p.r)
		for _, threads := range []int{1, 2} {
			dev := optest.CPU(b, threads)
			b.Run(fmt.Sprintf("forward/%v/threads=%d", s, threads), func(b *testing.B) {
				for b.Loop() {
					lora.Forward(dev, f(p.x), f(p.a), f(p.b), p.scale, f(u), f(p.y), p.t, p.in, p.out, p.r)
				}
				optest.GFLOPS(b, flops/2)
			})
			b.Run(fmt.Sprintf("backward/%v/threads=%d", s, threads), func(b *testing.B) {
				for b.Loop() {
					lora.Backward(dev, f(p.dy), f(p.x), f(p.a), f(p.b), f(u), p.scale, f(v), f(p.dx), f(p.da), f(p.db), p.t, p.in, p.out, p.r)
				}
				optest.GFLOPS(b, flops)
			})
		}
	}
}
