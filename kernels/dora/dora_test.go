package dora_test

import (
	"math"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/dora"
	"dataflex.dev/dataflex/kernels/optest"
)

// results are those of the four functions, in order.
type results struct{ squares, scale, inverse, y, dm []float64 }

// plain computes them by their definitions: with the whole matrix W + s·B·A.
func plain(w, a, b, m, z, dy, y []float32, in, out, r int, s float64) results {
	res := results{make([]float64, out), make([]float64, out), make([]float64, out), optest.To[float64](y), make([]float64, out)}
	for o := range out {
		var norm float64
		for j := range in {
			x := float64(w[o*in+j])
			res.squares[o] += x * x
			for k := range r {
				x += s * float64(b[o*r+k]) * float64(a[k*in+j])
			}
			norm += x * x
		}
		res.inverse[o] = 1 / math.Sqrt(norm)
		res.scale[o] = float64(m[o]) * res.inverse[o]
		res.dm[o] = 1
		for t := range len(z) / out {
			i := t*out + o
			res.y[i] += res.scale[o] * float64(z[i])
			res.dm[o] += res.inverse[o] * float64(dy[i]) * float64(z[i])
		}
	}
	return res
}

// TestAgainstFloat64 compares with the whole matrix, on threads and on a device.
func TestAgainstFloat64(t *testing.T) {
	r := optest.Rand(3)
	for _, c := range []struct{ in, out, rank, rows int }{{1, 1, 1, 1}, {7, 5, 3, 4}, {64, 33, 8, 40}, {300, 70, 4, 9}} {
		const s = 2
		w, a, b := optest.Normal(r, c.out*c.in, 1), optest.Normal(r, c.rank*c.in, 0.3), optest.Normal(r, c.out*c.rank, 0.3)
		m, z, dy, y := optest.Normal(r, c.out, 1), optest.Normal(r, c.rows*c.out, 1), optest.Normal(r, c.rows*c.out, 1), optest.Normal(r, c.rows*c.out, 1)
		want := plain(w, a, b, m, z, dy, y, c.in, c.out, c.rank, s)
		p, g := make([]float32, c.out*c.rank), make([]float32, c.rank*c.rank)
		multiply(p, w, a, c.out, c.in, c.rank)
		multiply(g, a, a, c.rank, c.in, c.rank)
		for _, dev := range []driver.Device{optest.CPU(t, 1), optest.CPU(t, 4), optest.Device(t, 80)} {
			put := func(x []float32) driver.F32 {
				mem, err := dev.Alloc(4 * len(x))
				if err != nil {
					t.Fatal(err)
				}
				v := driver.View[float32](mem)
				if err := driver.Upload(dev, v, x); err != nil {
					t.Fatal(err)
				}
				return v
			}
			squares, scale, inverse, dm := put(make([]float32, c.out)), put(make([]float32, c.out)), put(make([]float32, c.out)), put(ones(c.out))
			dz, dyy := put(z), put(y)
			dora.RowSquares(dev, put(w), squares)
			dora.Scales(dev, squares, put(p), put(b), put(g), put(m), s, scale, inverse)
			dora.Scale(dev, dz, scale, 1, dyy)
			dora.Magnitude(dev, put(dy), dz, inverse, dm)
			over := put(make([]float32, len(z)))
			dora.Scale(dev, dz, scale, 0, over)
			for i, x := range read(t, dev, over) {
				if d := math.Abs(float64(x) - (want.y[i] - float64(y[i]))); d > 2e-6*math.Abs(want.scale[i%c.out])*4 {
					t.Fatalf("%v: y[%d] with beta 0 is off by %g", dev.Kind(), i, d)
				}
			}
			for _, x := range []struct {
				name string
				got  driver.F32
				want []float64
			}{{"squares", squares, want.squares}, {"scale", scale, want.scale}, {"inverse", inverse, want.inverse}, {"y", dyy, want.y}, {"dm", dm, want.dm}} {
				for i, v := range read(t, dev, x.got) {
					if d := math.Abs(float64(v) - x.want[i]); !(d <= 4e-6*(1+math.Abs(x.want[i]))) {
						t.Fatalf("%v %v: %s[%d] is %v, want %v", c, dev.Kind(), x.name, i, v, x.want[i])
					}
				}
			}
		}
	}
}

func read(t *testing.T, dev driver.Device, x driver.F32) []float32 {
	t.Helper()
	out, err := driver.Read(dev, x)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ones(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

// multiply is p [n, m] = x [n, k] · y [m, k]ᵀ.
func multiply(p, x, y []float32, n, k, m int) {
	for i := range n {
		for j := range m {
			var s float64
			for l := range k {
				s += float64(x[i*k+l]) * float64(y[j*k+l])
			}
			p[i*m+j] = float32(s)
		}
	}
}
