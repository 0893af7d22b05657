package norm_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/optest"
)

// runOn is run with tensors on a device, shift floats beyond an aligned address.
func runOn(t *testing.T, dev driver.Device, x, w, dy []float32, eps float32, shift int) result {
	d := len(w)
	in := func(x []float32) driver.F32 { return optest.In(t, dev, x, shift) }
	ones := make([]float32, d)
	for i := range ones {
		ones[i] = 1
	}
	dx, dw, rstd, y := in(dy), in(ones), in(make([]float32, len(x)/d)), in(x)
	norm.Forward(dev, y, in(w), eps, y, rstd, d)
	norm.Backward(dev, dx, in(x), in(w), rstd, dx, dw, d)
	norm.Backward(dev, in(dy), in(x), in(w), rstd, in(dy), driver.F32{}, d)
	return result{optest.Out(t, dev, y), optest.Out(t, dev, rstd), optest.Out(t, dev, dx), optest.Out(t, dev, dw)}
}

// TestPTX: in place, at any alignment, for rows of a warp and of a block, of any
// length, and a row alone has the bits it has in a batch.
func TestPTX(t *testing.T) {
	dev, r := optest.Device(t, 80), optest.Rand(7)
	const eps = float32(1e-5)
	for _, shape := range [][2]int{{1, 1}, {70, 129}, {33, 896}, {3, 2048}, {2, 4999}, {1, 8192}} {
		rows, d := shape[0], shape[1]
		x, w, dy := optest.Normal(r, rows*d, 3), optest.Normal(r, d, 1), optest.Normal(r, rows*d, 1)
		got := runOn(t, dev, x, w, dy, eps, 0)
		name := fmt.Sprintf("%v", shape)
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
		odd := runOn(t, dev, x, w, dy, eps, 1)
		optest.Same(t, name+" y, unaligned", odd.y, got.y)
		optest.Same(t, name+" dx, unaligned", odd.dx, got.dx)
		optest.Same(t, name+" dw, unaligned", odd.dw, got.dw)
		last := runOn(t, dev, x[(rows-1)*d:], w, dy[(rows-1)*d:], eps, 0)
		optest.Same(t, name+" y, alone", last.y, got.y[(rows-1)*d:])
		optest.Same(t, name+" dx, alone", last.dx, got.dx[(rows-1)*d:])
	}
}

// TestPTXTraffic: nothing is moved twice, and everything in full sectors.
func TestPTXTraffic(t *testing.T) {
	dev, r := optest.Sim(t), optest.Rand(8)
	const rows, d = 16, 4096
	x, w := optest.In(t, dev, optest.Normal(r, rows*d, 1), 0), optest.In(t, dev, optest.Normal(r, d, 1), 0)
	y, rstd := optest.In(t, dev, make([]float32, rows*d), 0), optest.In(t, dev, make([]float32, rows), 0)
	norm.Forward(dev, x, w, 1e-6, y, rstd, d)
	c := dev.Last()
	if want := uint64(4 * (rows*d*3 + rows)); c.GlobalBytes() != want {
		t.Errorf("%d bytes moved, want %d: x, y, and w once a row", c.GlobalBytes(), want)
	}
	if c.Global.Units != c.Global.Ideal || c.Conflicts() != 0 {
		t.Errorf("%d sectors, ideal %d; %d bank conflicts", c.Global.Units, c.Global.Ideal, c.Conflicts())
	}
}
