// Package lion is one step of Lion over a flat float32 parameter:
//
//	g  = GradScale·g
//	p  = p·(1 − LR·WeightDecay) − LR·sign(Beta1·m + (1−Beta1)·g)
//	m  = Beta2·m + (1−Beta2)·g
//
// with sign(0) = 0. Scalars are computed in float64 and rounded to float32 once; a product
// and the sum that contains it are rounded together. Elements are independent: the bits are
// the same for every number of threads, and on every device.
//
// Source: Chen et al. 2023, arXiv:2302.06675, algorithm 2; bitsandbytes 0.50
// backends/cpu/ops.py (32-bit state, no percentile clipping).
package lion

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Hyper has the hyperparameters of one step.
type Hyper struct {
	LR, Beta1, Beta2, WeightDecay float64
	GradScale                     float32 // 1 = gradients unchanged
}

// Step updates p and m in place; g is read only.
func Step(dev driver.Device, p, g, m driver.F32, h Hyper) {
	if g.Len() != p.Len() || m.Len() != p.Len() {
		panic("lion: p, g and m differ in length")
	}
	dispatch.Run(dev, "lion.Step", func(c *cpu.Device) {
		stepCPU(c, p.Host(), g.Host(), m.Host(), newFactors(h))
	}, func(c driver.Launcher) {
		stepPTX(c, p, g, m, newFactors(h))
	})
}

// factors are the scalars of a step, each rounded once.
type factors struct {
	gradScale, decay, lr, beta1, oneMinusBeta1, beta2, oneMinusBeta2 float32
}

func newFactors(h Hyper) factors {
	return factors{
		gradScale: h.GradScale, decay: float32(1 - h.LR*h.WeightDecay), lr: float32(h.LR),
		beta1: float32(h.Beta1), oneMinusBeta1: float32(1 - h.Beta1),
		beta2: float32(h.Beta2), oneMinusBeta2: float32(1 - h.Beta2),
	}
}
