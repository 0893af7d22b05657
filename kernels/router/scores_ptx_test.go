package router_test

import (
	"fmt"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/router"
)

// TestPTXScores: the host's choices, weights by their definition, and the host's gradient.
func TestPTXScores(t *testing.T) {
	host, dev, f := optest.CPU(t, 1), optest.Device(t, 80), optest.Dev
	cases := scoreCases()
	r := optest.Rand(23)
	for _, s := range []router.Scores{ // more experts than lanes, and a row of equal ones
		{Params: router.Params{Tokens: 9, Experts: 256, TopK: 8, Normalize: true}, Groups: 8, TopGroups: 4, Scale: 2.5},
		{Params: router.Params{Tokens: 12, Experts: 64, TopK: 6, Normalize: true}, Softmax: true},
		{Params: router.Params{Tokens: 3, Experts: 64, TopK: 1}, Groups: 32, TopGroups: 2},
	} {
		c := scored{Scores: s, logits: optest.Normal(r, s.Tokens*s.Experts, 2), dweight: optest.Normal(r, s.Tokens*s.TopK, 1), balance: optest.Normal(r, s.Experts, 1)}
		copy(c.logits[s.Experts:2*s.Experts], make([]float32, s.Experts))
		cases = append(cases, c)
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%+v", c.Scores.Params), func(t *testing.T) {
			n, k := len(c.logits), len(c.dweight)
			want := scoredOut{make([]float32, n), make([]float32, k), make([]float32, n), make([]int32, k), make([]int32, k)}
			c.Forward(host, f(c.logits), f(want.probs), driver.FromHost(want.choice), driver.FromHost(want.likely), f(want.weight))
			c.Backward(host, f(c.logits), f(want.probs), driver.FromHost(want.choice), f(want.weight), f(c.dweight), c.balance, f(want.dlogits))

			in := func(x []float32) driver.F32 { return optest.In(t, dev, x, 0) }
			if c.bias != nil {
				c.Bias = in(c.bias)
			}
			logits, probs, weight, dlogits := in(c.logits), in(make([]float32, n)), in(make([]float32, k)), in(make([]float32, n))
			chosen, probable := ints(t, dev, make([]int32, k)), ints(t, dev, make([]int32, k))
			c.Forward(dev, logits, probs, chosen, probable, weight)
			c.Backward(dev, logits, probs, chosen, weight, in(c.dweight), c.balance, dlogits)
			choice, likely := read(t, dev, chosen), read(t, dev, probable)
			if !slices.Equal(choice, want.choice) || !slices.Equal(likely, want.likely) {
				t.Fatalf("chose %v, likely %v, want %v, %v", choice, likely, want.choice, want.likely)
			}
			optest.Near(t, "probs", optest.Out(t, dev, probs), want.probs, 1e-6)
			optest.Near(t, "weight", optest.Out(t, dev, weight), want.weight, 1e-6)
			optest.Near(t, "dlogits", optest.Out(t, dev, dlogits), want.dlogits, 2e-6)
			c.Backward(dev, logits, probs, chosen, weight, in(c.dweight), nil, dlogits)
			c.Backward(host, f(c.logits), f(want.probs), driver.FromHost(want.choice), f(want.weight), f(c.dweight), nil, f(want.dlogits))
			optest.Near(t, "dlogits of the weights", optest.Out(t, dev, dlogits), want.dlogits, 2e-6)
		})
	}
	optest.Panics(t, "router: no kernel for so many groups", func() {
		c := router.Scores{Params: router.Params{Tokens: 1, Experts: 66, TopK: 1}, Groups: 33, TopGroups: 1}
		x := optest.In(t, dev, make([]float32, 66), 0)
		c.Forward(dev, x, x, ints(t, dev, make([]int32, 1)), ints(t, dev, make([]int32, 1)), x.Sub(0, 1))
	})
}
