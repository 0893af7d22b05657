package adamw_test

import (
	"testing"

	"dataflex/driver"
	"dataflex/kernels/adamw"
	"dataflex/kernels/optest"
)

// TestPTX: three steps have the bits of the host twin, and so of torch.
func TestPTX(t *testing.T) {
	dev, host, r := optest.Sim(t), optest.CPU(t, 1), optest.Rand(4)
	for _, n := range []int{1, 9, 5003} {
		for _, shift := range []int{0, 1} {
			p, m, v := optest.Normal(r, n, 1), optest.Normal(r, n, 0.1), optest.Normal(r, n, 0.1)
			for i := range v {
				v[i] *= v[i]
			}
			in := func(x []float32) driver.F32 { return optest.In(t, dev, x, shift) }
			dp, dm, dv := in(p), in(m), in(v)
			for step := 1; step < 4; step++ {
				g := optest.Normal(r, n, 1)
				h := adamw.Hyper{LR: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: step, GradScale: 0.5}
				adamw.Step(host, optest.Dev(p), optest.Dev(g), optest.Dev(m), optest.Dev(v), h)
				adamw.Step(dev, dp, in(g), dm, dv, h)
			}
			optest.Same(t, "p", optest.Out(t, dev, dp), p)
			optest.Same(t, "m", optest.Out(t, dev, dm), m)
			optest.Same(t, "v", optest.Out(t, dev, dv), v)
		}
	}
}
