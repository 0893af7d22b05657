package router_test

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/router"
)

// BenchmarkRouter is qwen3_moe's way to 8 of 128 experts and back, 512 tokens of width
// 2048, on one thread.
func BenchmarkRouter(b *testing.B) {
	const d = 2048
	p := router.Params{Tokens: 512, Experts: 128, TopK: 8, Normalize: true}
	r, f := optest.Rand(1), optest.Dev
	logits, x := optest.Normal(r, p.Tokens*p.Experts, 1), optest.Normal(r, p.Tokens*d, 1)
	probs, weight, choice := make([]float32, len(logits)), make([]float32, p.Tokens*p.TopK), driver.FromHost(make([]int32, p.Tokens*p.TopK))
	memory := driver.FromHost(make([]int32, p.PlanSize()))
	places, dweight := make([]float32, p.Tokens*p.TopK*d), make([]float32, p.Tokens*p.TopK)
	dev := optest.CPU(b, 1)
	plan := router.Plan{}
	b.Run("route", func(b *testing.B) {
		for b.Loop() {
			router.Forward(dev, p, f(logits), f(probs), choice, f(weight))
			plan = router.Group(dev, p, choice, memory)
		}
	})
	for name, run := range map[string]func(){
		"dispatch":         func() { router.Dispatch(dev, plan, f(x), f(places), d) },
		"combine":          func() { router.Combine(dev, plan, f(places), f(weight), f(x), d) },
		"combine backward": func() { router.CombineBackward(dev, plan, f(x), f(places), f(weight), f(places), f(dweight), d) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				run()
			}
			optest.GBs(b, 4*float64(len(places)))
		})
	}
}
