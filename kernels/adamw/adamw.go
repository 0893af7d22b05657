// Package adamw is one optimizer step over a flat float32 parameter, rounded
// where torch.optim.AdamW's CPU implementation (single tensor, torch 2.7) rounds:
//
//	g  = GradScale·g                      (torch's clipping multiplies in place)
//	p  = p·(1 − LR·WeightDecay)
//	m  = m + (1−Beta1)·(g − m)
//	v  = Beta2·v + (1−Beta2)·g·g
//	p -= LR/(1−Beta1^Step) · m/(sqrt(v)/sqrt(1−Beta2^Step) + Eps)
//
// Scalars are computed in float64 and rounded to float32 once. Elements are independent: the
// bits are the same for every number of threads.
//
// Measured on one core of an AMD EPYC (shared, 2026-11-24): 4 Mi elements in 5.3 ms,
// 22 GB/s; the portable loop takes 30 ms (best of six, alternating).
//
// Source: Loshchilov and Hutter 2019, arXiv:1711.05101; torch/optim/adamw.py.
package adamw

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Hyper has the hyperparameters of one step.
type Hyper struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	Step                               int     // from 1
	GradScale                          float32 // 1 = gradients unchanged
}

// Step updates p, m and v in place; g is read only.
func Step(dev driver.Device, p, g, m, v driver.F32, h Hyper) {
	check(p, g, m, v, h)
	dispatch.Run(dev, "adamw.Step", func(c *cpu.Device) {
		stepCPU(c, p.Host(), nil, g.Host(), m.Host(), v.Host(), h)
	}, func(c driver.Launcher) {
		stepPTX(c, "adamw_step", p, 0, g, m, v, h)
	})
}

// StepBF16 is Step for weights that products read in bf16: half is overwritten with the new
// p, rounded to nearest even.
func StepBF16(dev driver.Device, p driver.F32, half driver.Slice[driver.BF16], g, m, v driver.F32, h Hyper) {
	check(p, g, m, v, h)
	if half.Len() != p.Len() {
		panic("adamw: half and p differ in length")
	}
	dispatch.Run(dev, "adamw.StepBF16", func(c *cpu.Device) {
		stepCPU(c, p.Host(), half.Host(), g.Host(), m.Host(), v.Host(), h)
	}, func(c driver.Launcher) {
		stepPTX(c, "adamw_step_bf16", p, half.Addr(), g, m, v, h)
	})
}

func check(p, g, m, v driver.F32, h Hyper) {
	if g.Len() != p.Len() || m.Len() != p.Len() || v.Len() != p.Len() {
		panic("adamw: p, g, m and v differ in length")
	}
	if h.Step < 1 {
		panic("adamw: Step must be at least 1")
	}
}
