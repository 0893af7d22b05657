package cast_test

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestSum: in place, at any alignment, of any length; with a scale whose product is exact the
// bits are those of the rounded sum of float64.
func TestSum(t *testing.T) {
	for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80)} {
		r := optest.Rand(5)
		for _, n := range []int{1, 7, 5003} {
			x, y := optest.Nearests(optest.Normal(r, n, 1)), optest.Nearests(optest.Normal(r, n, 1))
			want := make([]float32, n)
			for i := range want {
				want[i] = bf16(float32(float64(x[i]) + 0.5*float64(y[i])))
			}
			for shift := range 2 {
				a, b := optest.InBF16(t, dev, x, shift), optest.InBF16(t, dev, y, shift)
				cast.Sum(dev, a, b, 0.5, b)
				optest.Same(t, dev.Kind().String(), optest.OutBF16(t, dev, b), want)
			}
		}
	}
}

// TestNarrowList: more matrices than a launch takes, of every padding, as NarrowRows.
func TestNarrowList(t *testing.T) {
	for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80)} {
		r := optest.Rand(6)
		var list []cast.Matrix
		var want [][]float32
		for i := range 100 {
			rows, cols := 1+i%7, []int{8, 16, 3, 1000, 72}[i%5]
			ld := (cols + 7) / 8 * 8
			x := optest.Normal(r, rows*cols, 1)
			w := make([]float32, rows*ld)
			for j, v := range x {
				w[j/cols*ld+j%cols] = bf16(v)
			}
			m := cast.Matrix{X: input(t, dev, x, 0), Rows: rows, Cols: cols, Ld: ld, Y: optest.InBF16(t, dev, make([]float32, rows*ld), 0)}
			list, want = append(list, m), append(want, w)
		}
		cast.NarrowList(dev, list)
		for i, m := range list {
			optest.Same(t, dev.Kind().String(), optest.OutBF16(t, dev, m.Y), want[i])
		}
	}
}
