package dora

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
)

const (
	rowBlock = 32  // rows per task
	strip    = 256 // columns that a task sums over all rows
)

func rowSquaresCPU(c *cpu.Device, w, squares []float32) {
	cols := len(w) / len(squares)
	blocks(c, len(squares), rowBlock, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			var s float64
			for _, x := range w[i*cols : (i+1)*cols] {
				s += float64(x) * float64(x)
			}
			squares[i] = float32(s)
		}
	})
}

func scalesCPU(squares, p, b, g, m []float32, s float32, scale, inverse []float32) {
	r := len(p) / len(m)
	for o := range m {
		pr, br := p[o*r:(o+1)*r], b[o*r:(o+1)*r]
		var cross, own float64
		for k, x := range br {
			cross += float64(pr[k]) * float64(x)
			var t float64
			for l, y := range br {
				t += float64(g[k*r+l]) * float64(y)
			}
			own += float64(x) * t
		}
		inv := 1 / math.Sqrt(float64(squares[o])+2*float64(s)*cross+float64(s)*float64(s)*own)
		inverse[o] = float32(inv)
		scale[o] = float32(float64(m[o]) * inv)
	}
}

func scaleCPU(c *cpu.Device, z, scale []float32, beta float32, y []float32) {
	n := len(scale)
	blocks(c, len(z)/n, rowBlock, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			zr, yr := z[t*n:(t+1)*n], y[t*n:(t+1)*n]
			if beta == 0 {
				for o, f := range scale {
					yr[o] = zr[o] * f
				}
				continue
			}
			for o, f := range scale {
				yr[o] = beta*yr[o] + zr[o]*f
			}
		}
	})
}

func magnitudeCPU(c *cpu.Device, dy, z, inverse, dm []float32) {
	n := len(dm)
	blocks(c, n, strip, func(lo, hi int) {
		var s [strip]float64
		for t := range len(z) / n {
			zr := z[t*n+lo : t*n+hi]
			for j, d := range dy[t*n+lo : t*n+hi] {
				s[j] += float64(d) * float64(zr[j])
			}
		}
		for o := lo; o < hi; o++ {
			dm[o] += float32(s[o-lo] * float64(inverse[o]))
		}
	})
}

// blocks calls f for parts of n, in parallel.
func blocks(c *cpu.Device, n, size int, f func(lo, hi int)) {
	c.Parallel((n+size-1)/size, func(b int) { f(b*size, min(n, (b+1)*size)) })
}
