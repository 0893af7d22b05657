package norm

import (
	"math"

	"dataflex/driver/cpu"
)

const (
	rowBlock = 16 // rows a task takes
	colBlock = 64 // columns of dw a task takes: whole cache lines
)

func forwardCPU(c *cpu.Device, x, w []float32, eps float32, y, rstd []float32, rows, d int) {
	c.Parallel((rows+rowBlock-1)/rowBlock, func(b int) {
		for t := b * rowBlock; t < min(rows, (b+1)*rowBlock); t++ {
			xr, yr := x[t*d:(t+1)*d], y[t*d:(t+1)*d]
			var sum float64
			for _, v := range xr {
				sum += float64(v) * float64(v)
			}
			r := float32(1 / math.Sqrt(sum/float64(d)+float64(eps)))
			rstd[t] = r
			for j, v := range xr {
				yr[j] = w[j] * (v * r)
			}
		}
	})
}

func backwardInputCPU(c *cpu.Device, dy, x, w, rstd, dx []float32, rows, d int) {
	c.Parallel((rows+rowBlock-1)/rowBlock, func(b int) {
		for t := b * rowBlock; t < min(rows, (b+1)*rowBlock); t++ {
			xr, gr, or := x[t*d:(t+1)*d], dy[t*d:(t+1)*d], dx[t*d:(t+1)*d]
			r := rstd[t]
			var dot float64
			for j, v := range xr {
				dot += float64(gr[j]*w[j]) * float64(v)
			}
			// n·mean(g·n) = x·r²·Σg·x/d
			k := float32(dot * float64(r) * float64(r) / float64(d))
			for j, v := range xr {
				or[j] = r * (gr[j]*w[j] - v*k)
			}
		}
	})
}

// backwardWeightCPU splits columns, not rows, among the threads: each column is
// summed over the rows in order, in float64, and needs no partial sums in memory.
func backwardWeightCPU(c *cpu.Device, dy, x, rstd, dw []float32, rows, d int) {
	c.Parallel((d+colBlock-1)/colBlock, func(b int) {
		lo, hi := b*colBlock, min(d, (b+1)*colBlock)
		var sum [colBlock]float64
		for t := range rows {
			xr, gr := x[t*d+lo:t*d+hi], dy[t*d+lo:t*d+hi]
			r := rstd[t]
			for j, v := range xr {
				sum[j] += float64(gr[j] * (v * r))
			}
		}
		for j := range hi - lo {
			dw[lo+j] += float32(sum[j])
		}
	})
}
