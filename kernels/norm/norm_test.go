package norm_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
)

type result struct{ y, rstd, dx, dw []float32 }

// run adds to a dw that holds ones.
func run(dev driver.Device, x, w, dy []float32, eps float32) result {
	d := len(w)
	r := result{make([]float32, len(x)), make([]float32, len(x)/d), make([]float32, len(x)), make([]float32, d)}
	for i := range r.dw {
		r.dw[i] = 1
	}
	f := optest.Dev
	norm.Forward(dev, f(x), f(w), eps, f(r.y), f(r.rstd), d)
	norm.Backward(dev, f(dy), f(x), f(w), f(r.rstd), f(r.dx), f(r.dw), d)
	return r
}

func TestAgainstFloat64(t *testing.T) {
	r := optest.Rand(1)
	for _, level := range simd.Levels() {
		simd.Force(level)
		for _, shape := range [][2]int{{1, 1}, {0, 3}, {3, 64}, {70, 129}, {33, 896}} {
			rows, d := shape[0], shape[1]
			x, w, dy := optest.Normal(r, rows*d, 3), optest.Normal(r, d, 1), optest.Normal(r, rows*d, 1)
			const eps = float32(1e-5)
			got := run(optest.CPU(t, 1), x, w, dy, eps)
			name := fmt.Sprintf("%s %v", level, shape)
			sy, sr := optest.RMSNorm(x, w, eps)
			ry, rr := optest.RMSNorm(optest.To[float64](x), optest.To[float64](w), float64(eps))
			optest.Within(t, name+" y", got.y, sy, ry)
			optest.Within(t, name+" rstd", got.rstd, sr, rr)
			sx, sw := optest.RMSNormGrad(dy, x, w, eps)
			rx, rw := optest.RMSNormGrad(optest.To[float64](dy), optest.To[float64](x), optest.To[float64](w), float64(eps))
			for j := range sw {
				sw[j]++
				rw[j]++
			}
			optest.Within(t, name+" dx", got.dx, sx, rx)
			optest.Within(t, name+" dw", got.dw, sw, rw)
			for _, n := range optest.Threads {
				again := run(optest.CPU(t, n), x, w, dy, eps)
				optest.Same(t, name+" y", again.y, got.y)
				optest.Same(t, name+" dx", again.dx, got.dx)
				optest.Same(t, name+" dw", again.dw, got.dw)
			}
		}
	}
}

func TestReferenceGradient(t *testing.T) {
	r := optest.Rand(2)
	x, w := optest.To[float64](optest.Normal(r, 12, 1)), optest.To[float64](optest.Normal(r, 4, 1))
	dy := optest.To[float64](optest.Normal(r, 12, 1))
	dx, dw := optest.RMSNormGrad(dy, x, w, 1e-2)
	f := func() float64 { y, _ := optest.RMSNorm(x, w, 1e-2); return optest.Inner(y, dy) }
	optest.FiniteDifference(t, "dx", f, x, dx)
	optest.FiniteDifference(t, "dw", f, w, dw)
}

func TestInPlaceAndFrozen(t *testing.T) {
	r := optest.Rand(3)
	x, w, dy := optest.Normal(r, 40, 1), optest.Normal(r, 8, 1), optest.Normal(r, 40, 1)
	dev, f := optest.CPU(t, 2), optest.Dev
	want := run(dev, x, w, dy, 1e-6)
	rstd := make([]float32, 5)
	y := append([]float32(nil), x...)
	norm.Forward(dev, f(y), f(w), 1e-6, f(y), f(rstd), 8)
	optest.Same(t, "y over x", y, want.y)
	norm.Backward(dev, f(dy), f(x), f(w), f(rstd), f(dy), driver.F32{}, 8)
	optest.Same(t, "dx over dy", dy, want.dx)
}

func TestGolden(t *testing.T) {
	var g struct {
		Eps                 float32
		X, W, DY, Y, DX, DW []float32
	}
	optest.Golden(t, &g)
	got := run(optest.CPU(t, 2), g.X, g.W, g.DY, g.Eps)
	for j := range got.dw {
		got.dw[j]--
	}
	optest.Near(t, "y", got.y, g.Y, 2e-7)
	optest.Near(t, "dx", got.dx, g.DX, 5e-7)
	optest.Near(t, "dw", got.dw, g.DW, 5e-7)
}

func TestPanics(t *testing.T) {
	dev := optest.CPU(t, 1)
	x := make([]float32, 12)
	optest.Panics(t, "norm: x is not [T, d]", func() {
		norm.Forward(dev, optest.Dev(x), optest.Dev(x[:5]), 1, optest.Dev(x), optest.Dev(x[:2]), 5)
	})
}
