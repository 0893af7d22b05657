package norm

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

const (
	rowBlock = 16  // rows a task takes
	colBlock = 128 // columns of dw a task takes
	sumBlock = 32  // rows of dw summed in float32 before they join the float64 sum
)

func forwardCPU(c *cpu.Device, x, w []float32, eps float32, y, rstd []float32, rows, d int) {
	c.Parallel((rows+rowBlock-1)/rowBlock, func(b int) {
		for t := b * rowBlock; t < min(rows, (b+1)*rowBlock); t++ {
			xr, yr := x[t*d:(t+1)*d], y[t*d:(t+1)*d]
			r := float32(1 / math.Sqrt(simd.SumSquares(xr)/float64(d)+float64(eps)))
			rstd[t] = r
			copy(yr, xr)
			simd.Scale(r, yr)
			simd.Mul(yr, yr, w)
		}
	})
}

func backwardInputCPU(c *cpu.Device, dy, x, w, rstd, dx []float32, rows, d int) {
	c.Parallel((rows+rowBlock-1)/rowBlock, func(b int) {
		for t := b * rowBlock; t < min(rows, (b+1)*rowBlock); t++ {
			xr, or := x[t*d:(t+1)*d], dx[t*d:(t+1)*d]
			r := float64(rstd[t])
			simd.Mul(or, dy[t*d:(t+1)*d], w) // g
			// n·mean(g·n) = x·r²·Σg·x/d
			k := float64(simd.Dot(or, xr)) * r * r / float64(d)
			simd.Axpy(float32(-k), xr, or)
			simd.Scale(rstd[t], or)
		}
	})
}

// backwardWeightCPU splits columns, not rows, among the threads: each column is
// summed over the rows in order and needs no partial sums in memory.
func backwardWeightCPU(c *cpu.Device, dy, x, rstd, dw []float32, rows, d int) {
	c.Parallel((d+colBlock-1)/colBlock, func(b int) {
		lo, hi := b*colBlock, min(d, (b+1)*colBlock)
		var sum [colBlock]float64
		var part, term [colBlock]float32
		for t := range rows {
			m := term[:hi-lo]
			simd.Mul(m, dy[t*d+lo:t*d+hi], x[t*d+lo:t*d+hi])
			simd.Axpy(rstd[t], m, part[:hi-lo])
			if t%sumBlock == sumBlock-1 || t == rows-1 {
				for j := range m {
					sum[j] += float64(part[j])
				}
				part = [colBlock]float32{}
			}
		}
		for j := range hi - lo {
			dw[lo+j] += float32(sum[j])
		}
	})
}
