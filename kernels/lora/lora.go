// Package lora is the low-rank branch of a linear layer.
//
//	u = x·Aᵀ,  y += scale·u·Bᵀ
//
// All matrices are float32 without gaps between their rows: x, dx [t, in]; y, dy
// [t, out]; A, dA [r, in]; B, dB [out, r]; u, v [t, r]. u and v are overwritten,
// everything else written to is added to.
//
// Source: Hu et al. 2021, arXiv:2106.09685.
package lora

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/gemm"
)

// Branch is the parameters of a branch, and where Gradient adds their gradients: DA and DB are
// both nil, where these are not wanted, or neither.
type Branch struct {
	A, B, DA, DB gemm.F32
	Scale        float32
}

// Forward overwrites u = x·Aᵀ, which Backward needs, and adds scale·u·Bᵀ to y.
func (w Branch) Forward(dev driver.Device, x, u, y gemm.F32) {
	w.check(y, u)
	if !dense(x, y.Rows, w.A.Cols) {
		panic("lora: a tensor's length is not its shape's")
	}
	dispatch.Run(dev, "lora.Forward", func(c *cpu.Device) {
		w.forward(c, x, u, y)
	}, func(c driver.Launcher) {
		w.forward(c, x, u, y)
	})
}

// forward is two products, on any device.
func (w Branch) forward(dev driver.Device, x, u, y gemm.F32) {
	gemm.Run(dev, gemm.NT, 1, x, w.A, 0, u)
	gemm.Run(dev, gemm.NT, w.Scale, u, w.B, 1, y)
}

// Backward overwrites v, which Gradient needs, and adds to dx, unless it is nil:
//
//	v = scale·dy·B,  dx += v·A
func (w Branch) Backward(dev driver.Device, dy, v, dx gemm.F32) {
	w.check(dy, v)
	if !dx.IsNil() && !dense(dx, dy.Rows, w.A.Cols) {
		panic("lora: dx is not [t, in]")
	}
	dispatch.Run(dev, "lora.Backward", func(c *cpu.Device) {
		w.backward(c, dy, v, dx)
	}, func(c driver.Launcher) {
		w.backward(c, dy, v, dx)
	})
}

// backward is two products, on any device.
func (w Branch) backward(dev driver.Device, dy, v, dx gemm.F32) {
	gemm.Run(dev, gemm.NN, w.Scale, dy, w.B, 0, v)
	if !dx.IsNil() {
		gemm.Run(dev, gemm.NN, 1, v, w.A, 1, dx)
	}
}

// Gradient adds to DA and DB, unless these are nil:
//
//	DA += vᵀ·x,  DB += scale·dyᵀ·u
func (w Branch) Gradient(dev driver.Device, dy, x, u, v gemm.F32) {
	w.check(dy, v)
	if w.DA.IsNil() && w.DB.IsNil() {
		return
	}
	w.checkGradients(dy, x, u)
	dispatch.Run(dev, "lora.Gradient", func(c *cpu.Device) {
		gradientCPU(c, w, dy, x, u, v)
	}, func(c driver.Launcher) {
		gradientPTX(c, w, dy, x, u, v)
	})
}

func (w Branch) checkGradients(dy, x, u gemm.F32) {
	if w.DA.IsNil() || w.DB.IsNil() {
		panic("lora: one of dA and dB is nil")
	}
	if !(dense(x, dy.Rows, w.A.Cols) && dense(u, dy.Rows, w.A.Rows) && dense(w.DA, w.A.Rows, w.A.Cols) && dense(w.DB, w.B.Rows, w.B.Cols)) {
		panic("lora: x, u, dA or dB is not of its shape")
	}
}

// check takes a matrix [t, out] and one [t, r].
func (w Branch) check(y, u gemm.F32) {
	t, in, out, r := y.Rows, w.A.Cols, w.B.Rows, w.A.Rows
	if t < 0 || in < 1 || out < 1 || r < 1 {
		panic("lora: t < 0, or in, out or r < 1")
	}
	if !dense(w.A, r, in) || !dense(w.B, out, r) || !dense(y, t, out) || !dense(u, t, r) {
		panic("lora: a tensor's length is not its shape's")
	}
}

func dense(x gemm.F32, rows, cols int) bool {
	return x.Rows == rows && x.Cols == cols && x.Ld == cols && x.Data.Len() == rows*cols
}
