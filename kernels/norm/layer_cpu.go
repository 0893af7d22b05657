package norm

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

// of is row t's share of a weight or bias; nil of nil.
func (l Layer) of(w []float32, t, d int) []float32 {
	if w == nil {
		return nil
	}
	g := t % l.groups()
	return w[g*d : (g+1)*d]
}

func (l Layer) forwardCPU(c *cpu.Device, x, y, moments []float32, rows, d int) {
	c.Parallel((rows+rowBlock-1)/rowBlock, func(block int) {
		for t := block * rowBlock; t < min(rows, (block+1)*rowBlock); t++ {
			w, b := l.of(l.W.Host(), t, d), l.of(l.B.Host(), t, d)
			xr, yr := x[t*d:(t+1)*d], y[t*d:(t+1)*d]
			var sum float64
			for _, v := range xr {
				sum += float64(v)
			}
			m := float32(sum / float64(d))
			for j, v := range xr {
				yr[j] = v - m
			}
			r := float32(1 / math.Sqrt(simd.SumSquares(yr)/float64(d)+float64(l.Eps)))
			moments[2*t], moments[2*t+1] = m, r
			simd.Scale(r, yr)
			if w != nil {
				simd.Mul(yr, yr, w)
			}
			if b != nil {
				simd.Add(yr, yr, b)
			}
		}
	})
}

func (l Layer) backwardInputCPU(c *cpu.Device, dy, x, moments, dx []float32, rows, d int) {
	c.Parallel((rows+rowBlock-1)/rowBlock, func(block int) {
		for t := block * rowBlock; t < min(rows, (block+1)*rowBlock); t++ {
			m, r := moments[2*t], moments[2*t+1]
			xr, out := x[t*d:(t+1)*d], dx[t*d:(t+1)*d]
			copy(out, dy[t*d:(t+1)*d])
			if w := l.of(l.W.Host(), t, d); w != nil {
				simd.Mul(out, out, w)
			}
			var sum, dot float64
			for j, g := range out {
				sum += float64(g)
				dot += float64(g) * float64((xr[j]-m)*r)
			}
			mean, slope := float32(sum/float64(d)), float32(dot/float64(d))
			for j := range out {
				out[j] = r * (out[j] - mean - (xr[j]-m)*r*slope)
			}
		}
	})
}

// backwardParamsCPU splits columns among the threads: each is summed over the rows in
// their order. A column is one of all groups', and a row that of all groups, too.
func (l Layer) backwardParamsCPU(c *cpu.Device, dy, x, moments, dw, db []float32, rows, d int) {
	groups := l.groups()
	columns := groups * d
	c.Parallel((columns+colBlock-1)/colBlock, func(block int) {
		lo, hi := block*colBlock, min(columns, (block+1)*colBlock)
		var weight, bias [colBlock]float64
		for t := range rows / groups {
			for j := lo; j < hi; j++ {
				at := 2 * (t*groups + j/d)
				g := float64(dy[t*columns+j])
				weight[j-lo] += g * float64((x[t*columns+j]-moments[at])*moments[at+1])
				bias[j-lo] += g
			}
		}
		for j := lo; j < hi; j++ {
			if dw != nil {
				dw[j] += float32(weight[j-lo])
			}
			if db != nil {
				db[j] += float32(bias[j-lo])
			}
		}
	})
}
