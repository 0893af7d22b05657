package norm_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
)

// layerCase is one call of Layer: w and b may be nil.
type layerCase struct {
	x, w, b, dy []float32
	groups, d   int
	eps         float32
}

type layerResult struct{ y, moments, dx, dw, db []float32 }

// layerCases go through the four kinds, groups, and rows of a warp and of a block.
func layerCases(seed uint64) (out []layerCase) {
	r := optest.Rand(seed)
	for i, shape := range [][3]int{{1, 1, 1}, {70, 1, 129}, {33, 3, 64}, {6, 2, 1027}, {2, 1, 4999}, {40, 4, 12}, {66, 1, 48}} {
		rows, groups, d := shape[0], shape[1], shape[2]
		c := layerCase{x: optest.Normal(r, rows*d, 3), dy: optest.Normal(r, rows*d, 1), groups: groups, d: d, eps: 1e-5}
		if i != 2 {
			c.w = optest.Normal(r, groups*d, 1)
		}
		if i%2 == 1 {
			c.b = optest.Normal(r, groups*d, 1)
		}
		for j := range c.x { // a mean that sums of squares alone would drown in
			c.x[j] += 5
		}
		out = append(out, c)
	}
	return out
}

// run has y in the place of x and dx in that of dy, and adds to gradients that hold ones.
func (c layerCase) run(t *testing.T, dev driver.Device, shift int) layerResult {
	in := func(x []float32) driver.F32 {
		if x == nil {
			return driver.F32{}
		}
		if dev.Kind() == driver.CPU {
			return optest.Dev(append([]float32(nil), x...))
		}
		return optest.In(t, dev, x, shift)
	}
	out := func(x driver.F32) []float32 {
		if dev.Kind() == driver.CPU {
			return x.Host()
		}
		return optest.Out(t, dev, x)
	}
	l := norm.Layer{Eps: c.eps, W: in(c.w), B: in(c.b), Groups: c.groups}
	y, dx, moments := in(c.x), in(c.dy), in(make([]float32, 2*len(c.x)/c.d))
	ones := make([]float32, c.groups*c.d)
	for i := range ones {
		ones[i] = 1
	}
	dw, db := in(ones), in(ones)
	l.Forward(dev, y, y, moments, c.d)
	l.Backward(dev, dx, in(c.x), moments, dx, dw, db, c.d)
	frozen := in(c.dy)
	l.Backward(dev, frozen, in(c.x), moments, frozen, driver.F32{}, driver.F32{}, c.d)
	optest.Same(t, "dx without dw and db", out(frozen), out(dx))
	return layerResult{out(y), out(moments), out(dx), out(dw), out(db)}
}

// check holds a result to the definition in float64.
func (c layerCase) check(t *testing.T, name string, got layerResult) {
	t.Helper()
	f := optest.To[float64, float32]
	none := func(x []float32) []float64 {
		if x == nil {
			return nil
		}
		return f(x)
	}
	sy, sm := optest.LayerNorm(c.x, c.w, c.b, c.groups, c.d, c.eps)
	ry, rm := optest.LayerNorm(f(c.x), none(c.w), none(c.b), c.groups, c.d, float64(c.eps))
	sx, sw, sb := optest.LayerNormGrad(c.dy, c.x, c.w, c.groups, c.d, c.eps)
	rx, rw, rb := optest.LayerNormGrad(f(c.dy), f(c.x), none(c.w), c.groups, c.d, float64(c.eps))
	for j := range rw {
		sw[j], sb[j], rw[j], rb[j] = sw[j]+1, sb[j]+1, rw[j]+1, rb[j]+1
	}
	optest.Within(t, name+" y", got.y, sy, ry)
	optest.Within(t, name+" moments", got.moments, sm, rm)
	optest.Within(t, name+" dx", got.dx, sx, rx)
	optest.Within(t, name+" dw", got.dw, sw, rw)
	optest.Within(t, name+" db", got.db, sb, rb)
}

func TestLayer(t *testing.T) {
	for _, level := range simd.Levels() {
		simd.Force(level)
		for _, c := range layerCases(7) {
			name := fmt.Sprintf("%s %d x %d x %d", level, len(c.x)/c.d, c.groups, c.d)
			got := c.run(t, optest.CPU(t, 1), 0)
			c.check(t, name, got)
			for _, n := range optest.Threads {
				again := c.run(t, optest.CPU(t, n), 0)
				optest.Same(t, name+" y", again.y, got.y)
				optest.Same(t, name+" dx", again.dx, got.dx)
				optest.Same(t, name+" dw", again.dw, got.dw)
				optest.Same(t, name+" db", again.db, got.db)
			}
		}
	}
}

// TestLayerPTX: at any alignment, and the last rows alone have the bits they have in a batch.
func TestLayerPTX(t *testing.T) {
	dev := optest.Device(t, 80)
	for _, c := range layerCases(8) {
		name := fmt.Sprintf("%d x %d x %d", len(c.x)/c.d, c.groups, c.d)
		got := c.run(t, dev, 0)
		c.check(t, name, got)
		odd := c.run(t, dev, 1)
		optest.Same(t, name+" y, unaligned", odd.y, got.y)
		optest.Same(t, name+" dx, unaligned", odd.dx, got.dx)
		optest.Same(t, name+" dw, unaligned", odd.dw, got.dw)
		optest.Same(t, name+" db, unaligned", odd.db, got.db)
		last, from := c, len(c.x)-c.groups*c.d
		last.x, last.dy = c.x[from:], c.dy[from:]
		alone := last.run(t, dev, 0)
		optest.Same(t, name+" y, alone", alone.y, got.y[from:])
		optest.Same(t, name+" dx, alone", alone.dx, got.dx[from:])
	}
}

// TestLayerReference holds the plain gradients to differences of the plain op.
func TestLayerReference(t *testing.T) {
	r, groups, d := optest.Rand(9), 2, 5
	f := func(n int) []float64 { return optest.To[float64](optest.Normal(r, n, 1)) }
	x, w, b, dy := f(4*d), f(groups*d), f(groups*d), f(4*d)
	dx, dw, db := optest.LayerNormGrad(dy, x, w, groups, d, 1e-2)
	loss := func() float64 { y, _ := optest.LayerNorm(x, w, b, groups, d, 1e-2); return optest.Inner(y, dy) }
	optest.FiniteDifference(t, "dx", loss, x, dx)
	optest.FiniteDifference(t, "dw", loss, w, dw)
	optest.FiniteDifference(t, "db", loss, b, db)
}

// TestLayerPTXTraffic: x is read once, y written once, w and b once a row, in full sectors.
func TestLayerPTXTraffic(t *testing.T) {
	dev, r := optest.Sim(t), optest.Rand(10)
	const rows, d = 16, 4096
	in := func(x []float32) driver.F32 { return optest.In(t, dev, x, 0) }
	l := norm.Layer{Eps: 1e-5, W: in(optest.Normal(r, d, 1)), B: in(optest.Normal(r, d, 1))}
	l.Forward(dev, in(optest.Normal(r, rows*d, 1)), in(make([]float32, rows*d)), in(make([]float32, 2*rows)), d)
	c := dev.Last()
	if want := uint64(4 * (rows*d*4 + 2*rows)); c.GlobalBytes() != want {
		t.Errorf("%d bytes moved, want %d", c.GlobalBytes(), want)
	}
	if c.Global.Units != c.Global.Ideal || c.Conflicts() != 0 {
		t.Errorf("%d sectors, ideal %d; %d bank conflicts", c.Global.Units, c.Global.Ideal, c.Conflicts())
	}
}

func TestLayerPanics(t *testing.T) {
	dev, x := optest.CPU(t, 1), optest.Dev(make([]float32, 12))
	for want, l := range map[string]norm.Layer{
		"norm: T is not a multiple of Groups": {Groups: 2},
		"norm: w or b is not [Groups, d]":     {W: x},
		"norm: y is not shaped like x":        {},
	} {
		optest.Panics(t, want, func() { l.Forward(dev, x, optest.Dev(make([]float32, 4)), optest.Dev(make([]float32, 6)), 4) })
	}
}
