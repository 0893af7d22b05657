package norm

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Layer is LayerNorm over rows of x [T, d]: W and B are [Groups, d], or nil, which stand
// for 1 and 0. Row t takes row t mod Groups of them: the heads of a token have weights of
// their own where Groups is their number.
//
//	mean[t] = mean_j x[t,j],  rstd[t] = 1/sqrt(mean_j (x[t,j] − mean[t])² + eps)
//	y[t,j]  = w[j]·(x[t,j] − mean[t])·rstd[t] + b[j]
//
// All tensors are float32. A row's result depends on that row alone, and dw and db are
// summed over rows in their order, so the bits do not depend on the number of threads.
//
// Source: Ba et al. 2016, arXiv:1607.06450; torch.nn.functional.layer_norm.
type Layer struct {
	Eps    float32
	W, B   driver.F32
	Groups int // 0 = 1; divides T
}

// Forward overwrites y, which may be x, and moments [2·T]: mean and rstd of every row.
func (l Layer) Forward(dev driver.Device, x, y, moments driver.F32, d int) {
	rows := l.check(x, moments, d)
	if y.Len() != x.Len() {
		panic("norm: y is not shaped like x")
	}
	dispatch.Run(dev, "norm.Layer", func(c *cpu.Device) {
		l.forwardCPU(c, x.Host(), y.Host(), moments.Host(), rows, d)
	}, func(c driver.Launcher) {
		l.forwardPTX(c, x, y, moments, rows, d)
	})
}

// Backward overwrites dx, which may be dy, and adds to dw and db [Groups, d] unless they
// are nil:
//
//	n[t,j]  = (x[t,j] − mean[t])·rstd[t],  g[t,j] = dy[t,j]·w[j]
//	dx[t,j] = rstd[t]·(g[t,j] − mean_i g[t,i] − n[t,j]·mean_i g[t,i]·n[t,i])
//	dw[j]  += Σ_t dy[t,j]·n[t,j],  db[j] += Σ_t dy[t,j], over the rows of the group
func (l Layer) Backward(dev driver.Device, dy, x, moments, dx, dw, db driver.F32, d int) {
	rows := l.check(x, moments, d)
	if dy.Len() != x.Len() || dx.Len() != x.Len() {
		panic("norm: dy or dx is not shaped like x")
	}
	if n := l.groups() * d; !dw.IsNil() && dw.Len() != n || !db.IsNil() && db.Len() != n {
		panic("norm: dw or db is not [Groups, d]")
	}
	dispatch.Run(dev, "norm.Layer", func(c *cpu.Device) {
		if !dw.IsNil() || !db.IsNil() {
			l.backwardParamsCPU(c, dy.Host(), x.Host(), moments.Host(), dw.Host(), db.Host(), rows, d)
		}
		l.backwardInputCPU(c, dy.Host(), x.Host(), moments.Host(), dx.Host(), rows, d)
	}, func(c driver.Launcher) {
		l.backwardPTX(c, dy, x, moments, dx, dw, db, rows, d)
	})
}

func (l Layer) groups() int { return max(1, l.Groups) }

// check returns T.
func (l Layer) check(x, moments driver.F32, d int) int {
	if d < 1 || x.Len()%d != 0 {
		panic("norm: x is not [T, d]")
	}
	if l.Groups < 0 || (x.Len()/d)%l.groups() != 0 {
		panic("norm: T is not a multiple of Groups")
	}
	if n := l.groups() * d; !l.W.IsNil() && l.W.Len() != n || !l.B.IsNil() && l.B.Len() != n {
		panic("norm: w or b is not [Groups, d]")
	}
	if moments.Len() != 2*(x.Len()/d) {
		panic("norm: moments is not [2·T]")
	}
	return x.Len() / d
}
