package adamw_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/kernels/adamw"
	"dataflex.dev/dataflex/kernels/optest"
)

func BenchmarkStep(b *testing.B) {
	const n = 4 << 20
	r, f := optest.Rand(1), optest.Dev
	p, g, m, v := optest.Normal(r, n, 1), optest.Normal(r, n, 1), make([]float32, n), make([]float32, n)
	h := adamw.Hyper{LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, Step: 10, GradScale: 1}
	for _, threads := range []int{1, 2} {
		dev := optest.CPU(b, threads)
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			for b.Loop() {
				adamw.Step(dev, h, adamw.Param{P: f(p), G: f(g), M: f(m), V: f(v)})
			}
			optest.GBs(b, 7*4*n)
		})
	}
}
