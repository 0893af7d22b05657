// Package dora is DoRA's addition to a low-rank branch: every output column of the layer is
// scaled by a trained magnitude divided by the norm of the adapted weight's row.
//
//	z = x·(W + s·B·A)ᵀ,  y = z ⊙ scale,  scale_o = m_o / ‖W_o + s·(B·A)_o‖
//
// The norm is a constant of the backward pass, as in the paper's section 4.3. It is computed
// without a matrix of W's size: with P = W·Aᵀ and G = A·Aᵀ
//
//	‖W_o + s·(B·A)_o‖² = ‖W_o‖² + 2s·Σ_k P_ok·B_ok + s²·Σ_kl B_ok·G_kl·B_ol
//
// All tensors are float32 and row-major. Sums over rows run in float64 in an order that only
// depends on the shape.
//
// Source: Liu et al. 2024, arXiv:2402.09353; peft 0.18 tuners/lora/dora.py.
package dora

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// RowSquares overwrites squares [rows] with Σ_j w_ij² of w [rows, cols].
func RowSquares(dev driver.Device, w, squares driver.F32) {
	rows := squares.Len()
	if rows == 0 || w.Len()%rows != 0 {
		panic("dora: w is not [rows, cols]")
	}
	dispatch.Run(dev, "dora.RowSquares", func(c *cpu.Device) {
		rowSquaresCPU(c, w.Host(), squares.Host())
	}, func(c driver.Launcher) {
		rowSquaresPTX(c, w, squares)
	})
}

// Scales overwrites scale and inverse [out] with m/norm and 1/norm from the squares of
// W's rows [out], P and B [out, r], G [r, r] and the magnitudes m [out].
func Scales(dev driver.Device, squares, p, b, g, m driver.F32, s float32, scale, inverse driver.F32) {
	out := m.Len()
	if out == 0 || p.Len()%out != 0 || b.Len() != p.Len() || g.Len() != p.Len()/out*(p.Len()/out) ||
		squares.Len() != out || scale.Len() != out || inverse.Len() != out {
		panic("dora: a tensor's length is not its shape's")
	}
	dispatch.Run(dev, "dora.Scales", func(c *cpu.Device) {
		scalesCPU(squares.Host(), p.Host(), b.Host(), g.Host(), m.Host(), s, scale.Host(), inverse.Host())
	}, func(c driver.Launcher) {
		scalesPTX(c, squares, p, b, g, m, s, scale, inverse)
	})
}

// Scale is y = beta·y + z ⊙ scale over the columns of z and y [rows, out]; with beta 0 the
// previous y is not read.
func Scale(dev driver.Device, z, scale driver.F32, beta float32, y driver.F32) {
	if z.Len() != y.Len() || z.Len()%scale.Len() != 0 {
		panic("dora: z or y is not [rows, out]")
	}
	dispatch.Run(dev, "dora.Scale", func(c *cpu.Device) {
		scaleCPU(c, z.Host(), scale.Host(), beta, y.Host())
	}, func(c driver.Launcher) {
		scalePTX(c, z, scale, beta, y)
	})
}

// Magnitude is dm_o += inverse_o · Σ_t dy_to·z_to: the gradient of the magnitudes.
func Magnitude(dev driver.Device, dy, z, inverse, dm driver.F32) {
	if dy.Len() != z.Len() || z.Len()%dm.Len() != 0 || inverse.Len() != dm.Len() {
		panic("dora: dy or z is not [rows, out]")
	}
	dispatch.Run(dev, "dora.Magnitude", func(c *cpu.Device) {
		magnitudeCPU(c, dy.Host(), z.Host(), inverse.Host(), dm.Host())
	}, func(c driver.Launcher) {
		magnitudePTX(c, dy, z, inverse, dm)
	})
}
