package norm_test

import (
	"fmt"
	"math"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestLayer compares with the definition in float64, gradients with differences of it.
func TestLayer(t *testing.T) {
	const rows, d, eps = 19, 13, 1e-5
	r := optest.Rand(7)
	x, w, b, dy := optest.Normal(r, rows*d, 2), optest.Normal(r, d, 1), optest.Normal(r, d, 1), optest.Normal(r, rows*d, 1)
	for _, bare := range []bool{false, true} {
		x64, w64, b64 := optest.To[float64](x), optest.To[float64](w), optest.To[float64](b)
		l, dw, db := norm.Layer{Eps: eps}, make([]float32, d), make([]float32, d)
		var dwTo, dbTo driver.F32
		if !bare {
			l.W, l.B, dwTo, dbTo = optest.Dev(w), optest.Dev(b), optest.Dev(dw), optest.Dev(db)
		}
		y := func() []float64 { return layerNorm(x64, w64, b64, eps, d, bare) }
		loss := func() (sum float64) {
			for i, v := range y() {
				sum += v * float64(dy[i])
			}
			return sum
		}
		for _, threads := range optest.Threads {
			dev := optest.CPU(t, threads)
			got, moments, dx := make([]float32, rows*d), make([]float32, 2*rows), make([]float32, rows*d)
			clear(dw)
			clear(db)
			l.Forward(dev, optest.Dev(x), optest.Dev(got), optest.Dev(moments), d)
			l.Backward(dev, optest.Dev(dy), optest.Dev(x), optest.Dev(moments), optest.Dev(dx), dwTo, dbTo, d)
			name := fmt.Sprintf("bare %v, %d threads", bare, threads)
			near(t, name+" y", got, y(), 1e-6)
			near(t, name+" dx", dx, slopes(loss, x64), 1e-5)
			if !bare {
				near(t, name+" dw", dw, slopes(loss, w64), 1e-5)
				near(t, name+" db", db, slopes(loss, b64), 1e-5)
			}
		}
	}
}

func layerNorm(x, w, b []float64, eps float64, d int, bare bool) []float64 {
	y := make([]float64, len(x))
	for t := 0; t < len(x); t += d {
		var mean, variance float64
		for _, v := range x[t : t+d] {
			mean += v / float64(d)
		}
		for _, v := range x[t : t+d] {
			variance += (v - mean) * (v - mean) / float64(d)
		}
		for j := range d {
			y[t+j] = (x[t+j] - mean) / math.Sqrt(variance+eps)
			if !bare {
				y[t+j] = y[t+j]*w[j] + b[j]
			}
		}
	}
	return y
}

// slopes are central differences of f by every x.
func slopes(f func() float64, x []float64) []float64 {
	const h = 1e-5
	out := make([]float64, len(x))
	for i, v := range x {
		x[i] = v + h
		up := f()
		x[i] = v - h
		out[i], x[i] = (up-f())/(2*h), v
	}
	return out
}

func near(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	for i := range want {
		if math.Abs(float64(got[i])-want[i]) > tolerance*(1+math.Abs(want[i])) {
			t.Fatalf("%s: element %d is %g, want %g", what, i, got[i], want[i])
		}
	}
}
