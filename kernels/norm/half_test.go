package norm_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/optest"
)

// halfResult is what the kernels on bf16 compute, in float32.
type halfResult struct{ sum, y, rstd, dx, dw []float32 }

// runHalf runs forward with a residual and backward with another gradient, everything in
// place that may be.
func runHalf(t *testing.T, dev driver.Device, x, r, w, dy, add []float32, scale, eps float32, shift int) halfResult {
	d := len(w)
	in := func(x []float32) driver.Slice[driver.BF16] { return optest.InBF16(t, dev, x, shift) }
	wide := func(x []float32) driver.F32 { return optest.In(t, dev, x, 0) }
	sum, y, rstd := in(r), in(make([]float32, len(x))), wide(make([]float32, len(x)/d))
	norm.ForwardBF16(dev, in(x), norm.Residual{Y: sum, Scale: scale, Sum: sum}, wide(w), eps, y, rstd, d)
	dx, dw := in(dy), wide(make([]float32, d))
	norm.BackwardBF16(dev, dx, sum, wide(w), rstd, in(add), dx, dw, d)
	return halfResult{optest.OutBF16(t, dev, sum), optest.OutBF16(t, dev, y), optest.Out(t, dev, rstd), optest.OutBF16(t, dev, dx), optest.Out(t, dev, dw)}
}

// TestHalf: rows of a warp and of a block, of any length and alignment; a row alone has the
// bits that it has in a batch. The norm is that of the rounded sum.
func TestHalf(t *testing.T) {
	const eps, scale = 1e-5, 0.5
	for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80)} {
		r := optest.Rand(7)
		for _, shape := range [][2]int{{1, 1}, {37, 129}, {9, 896}, {3, 2048}, {2, 4999}} {
			rows, d := shape[0], shape[1]
			normal := func(n int, std float64) []float32 { return optest.Nearests(optest.Normal(r, n, std)) }
			x, y, w, dy, add := normal(rows*d, 3), normal(rows*d, 1), normal(d, 1), normal(rows*d, 1), normal(rows*d, 1)
			name := fmt.Sprintf("%v %v", dev.Kind(), shape)
			got := runHalf(t, dev, x, y, w, dy, add, scale, eps, 0)
			sum := make([]float64, len(x))
			for i := range sum {
				sum[i] = float64(x[i]) + scale*float64(y[i])
			}
			optest.Rounded(t, name+" sum", got.sum, sum)
			wide, wide64 := optest.To[float64](got.sum), optest.To[float64](w)
			ry, rr := optest.RMSNorm(wide, wide64, eps)
			optest.Rounded(t, name+" y", got.y, ry)
			optest.Near(t, name+" rstd", got.rstd, optest.To[float32](rr), 1e-6)
			rx, rw := optest.RMSNormGrad(optest.To[float64](dy), wide, wide64, eps)
			for i := range rx {
				rx[i] += float64(add[i])
			}
			optest.Rounded(t, name+" dx", got.dx, rx)
			optest.Near(t, name+" dw", got.dw, optest.To[float32](rw), 1e-5)

			if dev.Kind() == driver.CPU {
				continue
			}
			odd := runHalf(t, dev, x, y, w, dy, add, scale, eps, 1)
			optest.Same(t, name+" y, unaligned", odd.y, got.y)
			optest.Same(t, name+" dx, unaligned", odd.dx, got.dx)
			last := (rows - 1) * d
			alone := runHalf(t, dev, x[last:], y[last:], w, dy[last:], add[last:], scale, eps, 0)
			optest.Same(t, name+" y, alone", alone.y, got.y[last:])
			optest.Same(t, name+" dx, alone", alone.dx, got.dx[last:])
		}
	}
}

// TestHalfAlone: without a residual and another gradient the results are the float32 kernel's,
// rounded.
func TestHalfAlone(t *testing.T) {
	dev, r := optest.Device(t, 80), optest.Rand(8)
	for _, d := range []int{72, 1500} {
		const rows, eps = 5, 1e-5
		x, w, dy := optest.Nearests(optest.Normal(r, rows*d, 3)), optest.Normal(r, d, 1), optest.Nearests(optest.Normal(r, rows*d, 1))
		want := runOn(t, dev, x, w, dy, eps, 0)
		in := func(x []float32) driver.Slice[driver.BF16] { return optest.InBF16(t, dev, x, 0) }
		y, rstd, dx := in(x), optest.In(t, dev, make([]float32, rows), 0), in(dy)
		norm.ForwardBF16(dev, y, norm.Residual{}, optest.In(t, dev, w, 0), eps, y, rstd, d)
		norm.BackwardBF16(dev, dx, in(x), optest.In(t, dev, w, 0), rstd, driver.Slice[driver.BF16]{}, dx, driver.F32{}, d)
		optest.Same(t, "y", optest.OutBF16(t, dev, y), optest.Nearests(want.y))
		optest.Same(t, "dx", optest.OutBF16(t, dev, dx), optest.Nearests(want.dx))
	}
}

// TestHalfTraffic: with the addition two values are read and two written, backward three read
// and one written, in full sectors; and every row reads the weight.
func TestHalfTraffic(t *testing.T) {
	dev, r := optest.Sim(t), optest.Rand(9)
	for d, name := range map[int]string{512: "warp", 4096: "block"} {
		const rows = 16
		x, w := optest.Normal(r, rows*d, 1), optest.Normal(r, d, 1)
		dev.ResetCounters()
		runHalf(t, dev, x, x, w, x, x, 1, 1e-5, 0)
		optest.Frugal(t, dev, "norm_half_forward_"+name, uint64((4*2+4)*rows*d))
		optest.Frugal(t, dev, "norm_half_backward_"+name, uint64((4*2+4)*rows*d))
	}
}
