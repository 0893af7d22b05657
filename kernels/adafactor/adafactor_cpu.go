package adafactor

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
)

const strip = 256 // columns that a task sums over all rows

func matrixCPU(d *cpu.Device, p, g, r, c []float32, f factors) {
	rows, cols := len(r), len(c)
	row := func(x []float32, i int) []float32 { return x[i*cols : (i+1)*cols] }
	d.Parallel(rows, func(i int) {
		var s float64
		for _, x := range row(g, i) {
			x *= f.gradScale
			s += float64(x) * float64(x)
		}
		r[i] = f.follow(r[i], s/float64(cols))
	})
	d.Parallel((cols+strip-1)/strip, func(b int) {
		lo, hi := b*strip, min(cols, (b+1)*strip)
		var s [strip]float64
		for i := range rows {
			for j, x := range row(g, i)[lo:hi] {
				x *= f.gradScale
				s[j] += float64(x) * float64(x)
			}
		}
		for j := lo; j < hi; j++ {
			c[j] = f.follow(c[j], s[j-lo]/float64(rows))
		}
	})
	byColumn := make([]float32, cols)
	for j, x := range c {
		byColumn[j] = inverseRoot(x)
	}
	mean := meanOf(r)
	squares := make([]float64, rows)
	d.Parallel(rows, func(i int) {
		a := inverseRoot(r[i]/mean) * f.gradScale
		for j, x := range row(g, i) {
			u := a * byColumn[j] * x
			squares[i] += float64(u) * float64(u)
		}
	})
	step := f.step(squares, len(p))
	d.Parallel(rows, func(i int) {
		a, q := inverseRoot(r[i]/mean)*f.gradScale, row(p, i)
		for j, x := range row(g, i) {
			q[j] = q[j]*f.decay - step*(a*byColumn[j]*x)
		}
	})
}

func vectorCPU(p, g, v []float32, f factors) {
	var squares float64
	for i, x := range g {
		x *= f.gradScale
		v[i] = f.follow(v[i], float64(x)*float64(x))
		u := x * inverseRoot(v[i])
		squares += float64(u) * float64(u)
	}
	step := f.step([]float64{squares}, len(p))
	for i, x := range g {
		p[i] = p[i]*f.decay - step*(x*f.gradScale*inverseRoot(v[i]))
	}
}

// follow moves a running mean towards a new mean of squares.
func (f factors) follow(old float32, mean float64) float32 {
	return old*f.beta2 + f.oneMinusBeta2*(float32(mean)+f.eps)
}

// step is the learning rate over max(1, the root mean square of n elements).
func (f factors) step(squares []float64, n int) float32 {
	var s float64
	for _, x := range squares {
		s += x
	}
	return f.lr / max(1, float32(math.Sqrt(s/float64(n))))
}

func inverseRoot(x float32) float32 { return 1 / float32(math.Sqrt(float64(x))) }

func meanOf(x []float32) float32 {
	var s float64
	for _, v := range x {
		s += float64(v)
	}
	return float32(s / float64(len(x)))
}
