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
