// Package norm is RMSNorm in the order Hugging Face's LlamaRMSNorm rounds it:
// x is normalised in float32, then multiplied by the weight.
//
//	rstd[t] = 1/sqrt(mean_j x[t,j]² + eps)
//	y[t,j]  = w[j]·(x[t,j]·rstd[t])
//
// All tensors are float32 and row-major: x, y, dy, dx [T, d]; w, dw [d];
// rstd [T]. T is x.Len()/d. A row's result depends on that row alone, and dw is
// summed over rows in their order, so the bits do not depend on the number of
// threads.
//
// Source: Zhang and Sennrich 2019, arXiv:1910.07467; transformers 4.52
// models/llama/modeling_llama.py.
package norm

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Forward overwrites y and rstd. y may be x.
func Forward(dev driver.Device, x, w driver.F32, eps float32, y, rstd driver.F32, d int) {
	rows := check(x, w, rstd, d)
	if y.Len() != x.Len() {
		panic("norm: y is not shaped like x")
	}
	dispatch.Run(dev, "norm.Forward", func(c *cpu.Device) {
		forwardCPU(c, x.Host(), w.Host(), eps, y.Host(), rstd.Host(), rows, d)
	}, func(c driver.Launcher) {
		forwardPTX(c, x, w, eps, y, rstd, rows, d)
	})
}

// Backward overwrites dx, which may be dy, and adds to dw unless it is nil:
//
//	g[t,j]  = dy[t,j]·w[j],  n[t,j] = x[t,j]·rstd[t]
//	dx[t,j] = rstd[t]·(g[t,j] − n[t,j]·mean_i g[t,i]·n[t,i])
//	dw[j]  += Σ_t dy[t,j]·n[t,j]
func Backward(dev driver.Device, dy, x, w, rstd, dx, dw driver.F32, d int) {
	rows := check(x, w, rstd, d)
	if dy.Len() != x.Len() || dx.Len() != x.Len() {
		panic("norm: dy or dx is not shaped like x")
	}
	if !dw.IsNil() && dw.Len() != d {
		panic("norm: dw is not [d]")
	}
	dispatch.Run(dev, "norm.Backward", func(c *cpu.Device) {
		if !dw.IsNil() {
			backwardWeightCPU(c, dy.Host(), x.Host(), rstd.Host(), dw.Host(), rows, d)
		}
		backwardInputCPU(c, dy.Host(), x.Host(), w.Host(), rstd.Host(), dx.Host(), rows, d)
	}, func(c driver.Launcher) {
		backwardPTX(c, dy, x, w, rstd, dx, dw, rows, d)
	})
}

// check returns T.
func check(x, w, rstd driver.F32, d int) int { return checkRows(x.Len(), w, rstd, d) }

// checkRows is check of an x of n elements.
func checkRows(n int, w, rstd driver.F32, d int) int {
	if d < 1 {
		panic("norm: d < 1")
	}
	rows := n / d
	if n != rows*d {
		panic("norm: x is not [T, d]")
	}
	if w.Len() != d {
		panic("norm: w is not [d]")
	}
	if rstd.Len() != rows {
		panic("norm: rstd is not [T]")
	}
	return rows
}
