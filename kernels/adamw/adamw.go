// Package adamw is one optimizer step over flat float32 parameters, rounded
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
	"slices"

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

// Param is one parameter with its gradient and moments, all of one length.
type Param struct {
	P, G, M, V driver.F32
	Half       driver.Slice[driver.BF16] // for weights that products read in bf16: the new P, rounded to nearest even; nil = none
}

// Step updates P, M and V of all parameters in place, and overwrites Half; G is read only. A
// device takes a launch for 64 parameters.
func Step(dev driver.Device, h Hyper, list ...Param) {
	if h.Step < 1 {
		panic("adamw: Step must be at least 1")
	}
	for _, x := range list {
		n := x.P.Len()
		if x.G.Len() != n || x.M.Len() != n || x.V.Len() != n || !x.Half.IsNil() && x.Half.Len() != n {
			panic("adamw: P, G, M, V and Half differ in length")
		}
	}
	dispatch.Run(dev, "adamw.Step", func(c *cpu.Device) {
		for _, x := range list {
			stepCPU(c, x.P.Host(), x.Half.Host(), x.G.Host(), x.M.Host(), x.V.Host(), h)
		}
	}, func(c driver.Launcher) {
		for part := range slices.Chunk(list, most) {
			stepPTX(c, h, part)
		}
	})
}
