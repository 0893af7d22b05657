package adafactor_test

import (
	"math"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/adafactor"
	"dataflex.dev/dataflex/kernels/optest"
)

// plain is the textbook step for a matrix, or if r is nil for a vector whose second moment
// is c.
func plain[F optest.Float](p, g, r, c []F, h adafactor.Hyper) {
	root := func(x F) F { return F(math.Sqrt(float64(x))) }
	b2, eps, scale := F(h.Beta2), F(h.Eps), F(h.GradScale)
	square := func(i int) F { return scale*g[i]*scale*g[i] + eps }
	cols := len(c)
	u := make([]F, len(p))
	if r == nil {
		for i := range p {
			c[i] = b2*c[i] + (1-b2)*square(i)
			u[i] = scale * g[i] / root(c[i])
		}
	} else {
		var mean F
		for i := range r {
			var s F
			for j := range cols {
				s += square(i*cols + j)
			}
			r[i] = b2*r[i] + (1-b2)*s/F(cols)
			mean += r[i] / F(len(r))
		}
		for j := range cols {
			var s F
			for i := range r {
				s += square(i*cols + j)
			}
			c[j] = b2*c[j] + (1-b2)*s/F(len(r))
		}
		for i := range u {
			u[i] = scale * g[i] / root(r[i/cols]/mean) / root(c[i%cols])
		}
	}
	var s F
	for _, x := range u {
		s += x * x
	}
	rms := max(1, root(s/F(len(u))))
	for i := range p {
		p[i] = p[i]*(1-F(h.LR*h.WeightDecay)) - F(h.LR)*u[i]/rms
	}
}

// TestAgainstFloat64: several steps of matrices and vectors, on the host and on a device.
func TestAgainstFloat64(t *testing.T) {
	r := optest.Rand(1)
	for _, s := range [][2]int{{1, 1}, {3, 7}, {8, 300}, {70, 9}, {65, 513}, {0, 5}, {0, 700}} {
		rows, cols := s[0], s[1]
		n := max(1, rows) * cols
		p, fr, fc := optest.Normal(r, n, 1), make([]float32, rows), make([]float32, cols)
		if rows == 0 {
			fr = nil
		}
		p32, r32, c32 := slices.Clone(p), slices.Clone(fr), slices.Clone(fc)
		p64, r64, c64 := optest.To[float64](p), optest.To[float64](fr), optest.To[float64](fc)
		if rows == 0 {
			r64 = nil
		}
		one, many, dev := optest.CPU(t, 1), optest.CPU(t, 4), optest.Device(t, 80)
		pm, rm, cm := slices.Clone(p), slices.Clone(fr), slices.Clone(fc)
		in := func(x []float32) driver.F32 { return optest.In(t, dev, x, 1) }
		pd, cd := in(p), in(fc)
		var rd driver.F32
		if rows > 0 {
			rd = in(fr)
		}
		step := func(on driver.Device, p, g, r, c driver.F32, h adafactor.Hyper) {
			if rows == 0 {
				adafactor.Vector(on, p, g, c, h)
			} else {
				adafactor.Matrix(on, p, g, r, c, h)
			}
		}
		for k := 1; k < 4; k++ {
			g := optest.Normal(r, n, float64(k))
			h := adafactor.Hyper{LR: 0.01, Beta2: 1 - math.Pow(float64(k), -0.8), Eps: 1e-30, WeightDecay: 0.1, GradScale: 0.5}
			step(one, optest.Dev(p), optest.Dev(g), optest.Dev(fr), optest.Dev(fc), h)
			step(many, optest.Dev(pm), optest.Dev(g), optest.Dev(rm), optest.Dev(cm), h)
			step(dev, pd, in(g), rd, cd, h)
			plain(p32, g, r32, c32, h)
			plain(p64, optest.To[float64](g), r64, c64, h)
		}
		optest.Same(t, "p on 4 threads", pm, p)
		optest.Same(t, "c on 4 threads", cm, fc)
		optest.Within(t, "p", p, p32, p64)
		optest.Within(t, "c", fc, c32, c64)
		optest.Within(t, "p on a device", optest.Out(t, dev, pd), p32, p64)
		optest.Within(t, "c on a device", optest.Out(t, dev, cd), c32, c64)
		if rows > 0 {
			optest.Same(t, "r on 4 threads", rm, fr)
			optest.Within(t, "r", fr, r32, r64)
			optest.Within(t, "r on a device", optest.Out(t, dev, rd), r32, r64)
		}
	}
}
