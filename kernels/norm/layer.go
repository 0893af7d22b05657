package norm

import (
	"fmt"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Layer is LayerNorm over rows of x [T, d]: w and b are [d], or nil, which stand for 1
// and 0. It has a host twin alone: who builds a model refuses other devices.
//
//	mean[t] = mean_j x[t,j],  rstd[t] = 1/sqrt(mean_j (x[t,j] − mean[t])² + eps)
//	y[t,j]  = w[j]·(x[t,j] − mean[t])·rstd[t] + b[j]
//
// Moments are summed in float64. A row's result depends on that row alone, and dw and db
// are summed over rows in their order.
//
// Source: Ba et al. 2016, arXiv:1607.06450; torch.nn.functional.layer_norm.
type Layer struct {
	Eps  float32
	W, B driver.F32
}

// Forward overwrites y, which may be x, and moments [2·T]: mean and rstd of every row.
func (l Layer) Forward(dev driver.Device, x, y, moments driver.F32, d int) {
	rows := l.check(x, moments, d)
	if y.Len() != x.Len() {
		panic("norm: y is not shaped like x")
	}
	dispatch.Run(dev, "norm.Layer", func(c *cpu.Device) {
		l.forwardCPU(c, x.Host(), y.Host(), moments.Host(), rows, d)
	}, func(driver.Launcher) { none(dev) })
}

// Backward overwrites dx, which may be dy, and adds to dw and db unless they are nil:
//
//	n[t,j]  = (x[t,j] − mean[t])·rstd[t],  g[t,j] = dy[t,j]·w[j]
//	dx[t,j] = rstd[t]·(g[t,j] − mean_i g[t,i] − n[t,j]·mean_i g[t,i]·n[t,i])
//	dw[j]  += Σ_t dy[t,j]·n[t,j],  db[j] += Σ_t dy[t,j]
func (l Layer) Backward(dev driver.Device, dy, x, moments, dx, dw, db driver.F32, d int) {
	rows := l.check(x, moments, d)
	if dy.Len() != x.Len() || dx.Len() != x.Len() {
		panic("norm: dy or dx is not shaped like x")
	}
	if !dw.IsNil() && dw.Len() != d || !db.IsNil() && db.Len() != d {
		panic("norm: dw or db is not [d]")
	}
	dispatch.Run(dev, "norm.Layer", func(c *cpu.Device) {
		if !dw.IsNil() || !db.IsNil() {
			backwardParamsCPU(c, dy.Host(), x.Host(), moments.Host(), dw.Host(), db.Host(), rows, d)
		}
		l.backwardInputCPU(c, dy.Host(), x.Host(), moments.Host(), dx.Host(), rows, d)
	}, func(driver.Launcher) { none(dev) })
}

func none(dev driver.Device) {
	panic(fmt.Sprintf("norm.Layer: no kernel for a %v device", dev.Kind()))
}

// check returns T.
func (l Layer) check(x, moments driver.F32, d int) int {
	if d < 1 || x.Len()%d != 0 {
		panic("norm: x is not [T, d]")
	}
	if !l.W.IsNil() && l.W.Len() != d || !l.B.IsNil() && l.B.Len() != d {
		panic("norm: w or b is not [d]")
	}
	if moments.Len() != 2*(x.Len()/d) {
		panic("norm: moments is not [2·T]")
	}
	return x.Len() / d
}

func (l Layer) forwardCPU(c *cpu.Device, x, y, moments []float32, rows, d int) {
	w, b := l.W.Host(), l.B.Host()
	c.Parallel((rows+rowBlock-1)/rowBlock, func(block int) {
		for t := block * rowBlock; t < min(rows, (block+1)*rowBlock); t++ {
			xr, yr := x[t*d:(t+1)*d], y[t*d:(t+1)*d]
			var sum, squares float64
			for _, v := range xr {
				sum += float64(v)
			}
			mean := sum / float64(d)
			for _, v := range xr {
				squares += (float64(v) - mean) * (float64(v) - mean)
			}
			m, r := float32(mean), float32(1/math.Sqrt(squares/float64(d)+float64(l.Eps)))
			moments[2*t], moments[2*t+1] = m, r
			for j, v := range xr {
				n := (v - m) * r
				if w != nil {
					n *= w[j]
				}
				if b != nil {
					n += b[j]
				}
				yr[j] = n
			}
		}
	})
}

func (l Layer) backwardInputCPU(c *cpu.Device, dy, x, moments, dx []float32, rows, d int) {
	w := l.W.Host()
	c.Parallel((rows+rowBlock-1)/rowBlock, func(block int) {
		for t := block * rowBlock; t < min(rows, (block+1)*rowBlock); t++ {
			m, r := moments[2*t], moments[2*t+1]
			out := dx[t*d : (t+1)*d]
			copy(out, dy[t*d:(t+1)*d])
			var sum, dot float64
			for j := range out {
				if w != nil {
					out[j] *= w[j]
				}
				sum += float64(out[j])
				dot += float64(out[j]) * float64((x[t*d+j]-m)*r)
			}
			mean, slope := float32(sum/float64(d)), float32(dot/float64(d))
			for j := range out {
				out[j] = r * (out[j] - mean - (x[t*d+j]-m)*r*slope)
			}
		}
	})
}

// backwardParamsCPU splits columns among the threads: each is summed over the rows in
// their order.
func backwardParamsCPU(c *cpu.Device, dy, x, moments, dw, db []float32, rows, d int) {
	c.Parallel((d+colBlock-1)/colBlock, func(block int) {
		for j := block * colBlock; j < min(d, (block+1)*colBlock); j++ {
			var weight, bias float64
			for t := range rows {
				g := float64(dy[t*d+j])
				weight += g * float64((x[t*d+j]-moments[2*t])*moments[2*t+1])
				bias += g
			}
			if dw != nil {
				dw[j] += float32(weight)
			}
			if db != nil {
				db[j] += float32(bias)
			}
		}
	})
}
