// Package adafactor is one step of Adafactor with a given learning rate, without a first
// moment, for a matrix or a vector. With x = GradScale·g, Beta2 = 1 − t^−0.8 at step t:
//
//	matrix [R, C]  r_i = Beta2·r_i + (1−Beta2)·(mean over j of x_ij² + Eps)
//	               c_j = Beta2·c_j + (1−Beta2)·(mean over i of x_ij² + Eps)
//	               u_ij = x_ij / sqrt(r_i / mean(r)) / sqrt(c_j)
//	vector         v = Beta2·v + (1−Beta2)·(x² + Eps),  u = x / sqrt(v)
//	both           p = p·(1 − LR·WeightDecay) − LR·u / max(1, rms(u))
//
// Sums run in float64; their order only depends on the shape, so the bits are the same for
// every number of threads.
//
// Source: Shazeer and Stern 2018, arXiv:1804.04235, algorithms 4 and 5; transformers 4.57
// optimization.py with scale_parameter and relative_step off, as its Trainer sets them.
package adafactor

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Hyper has the hyperparameters of one step.
type Hyper struct {
	LR, Beta2, Eps, WeightDecay float64
	GradScale                   float32 // 1 = gradients unchanged
}

// Matrix updates p [rows, cols], r [rows] and c [cols] in place; g is read only.
func Matrix(dev driver.Device, p, g, r, c driver.F32, h Hyper) {
	if g.Len() != p.Len() || r.Len()*c.Len() != p.Len() {
		panic("adafactor: p, g, r and c do not fit")
	}
	dispatch.Run(dev, "adafactor.Matrix", func(d *cpu.Device) {
		matrixCPU(d, p.Host(), g.Host(), r.Host(), c.Host(), newFactors(h))
	}, func(d driver.Launcher) {
		matrixPTX(d, p, g, r, c, newFactors(h))
	})
}

// Vector updates p and v in place; g is read only.
func Vector(dev driver.Device, p, g, v driver.F32, h Hyper) {
	if g.Len() != p.Len() || v.Len() != p.Len() {
		panic("adafactor: p, g and v differ in length")
	}
	dispatch.Run(dev, "adafactor.Vector", func(d *cpu.Device) {
		vectorCPU(p.Host(), g.Host(), v.Host(), newFactors(h))
	}, func(d driver.Launcher) {
		vectorPTX(d, p, g, v, newFactors(h))
	})
}

// factors are the scalars of a step, each rounded once.
type factors struct {
	gradScale, beta2, oneMinusBeta2, eps, decay, lr float32
}

func newFactors(h Hyper) factors {
	return factors{
		gradScale: h.GradScale, beta2: float32(h.Beta2), oneMinusBeta2: float32(1 - h.Beta2), eps: float32(h.Eps),
		decay: float32(1 - h.LR*h.WeightDecay), lr: float32(h.LR),
	}
}
