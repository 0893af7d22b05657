package swiglu_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// functions are all there are.
var functions = []swiglu.Pointwise{
	{Function: swiglu.SquaredReLU}, {Function: swiglu.Clamp, Bound: 1.25}, {Function: swiglu.ExactGELU}, {Function: swiglu.ApproximateGELU},
}

// TestPointwise: relu(x)² and clamp(x, -1.5, 1.5), by hand; a bound itself passes its gradient, as in torch.
func TestPointwise(t *testing.T) {
	x := []float32{-2, -1.5, -0.5, 0, 0.5, 1.5, 3}
	ones := []float32{1, 1, 1, 1, 1, 1, 2}
	for _, c := range []struct {
		p     swiglu.Pointwise
		y, dx []float32
	}{
		{p: swiglu.Pointwise{}, y: []float32{0, 0, 0, 0, 0.25, 2.25, 9}, dx: []float32{0, 0, 0, 0, 1, 3, 12}},
		{
			p: swiglu.Pointwise{Function: swiglu.Clamp, Bound: 1.5},
			y: []float32{-1.5, -1.5, -0.5, 0, 0.5, 1.5, 1.5}, dx: []float32{0, 1, 1, 1, 1, 1, 0},
		},
	} {
		y, dx := applied(t, optest.CPU(t, 2), c.p, ones, x, 0)
		if !slices.Equal(y, c.y) || !slices.Equal(dx, c.dx) {
			t.Errorf("%+v: %v and %v, want %v and %v", c.p, y, dx, c.y, c.dx)
		}
	}
}

// applied puts the outputs in the place of inputs.
func applied(t *testing.T, dev driver.Device, p swiglu.Pointwise, dout, x []float32, shift int) (y, dx []float32) {
	in := func(x []float32) driver.F32 {
		if dev.Kind() == driver.CPU {
			return optest.Dev(slices.Clone(x))
		}
		return optest.In(t, dev, x, shift)
	}
	out := func(x driver.F32) []float32 {
		if dev.Kind() == driver.CPU {
			return x.Host()
		}
		return optest.Out(t, dev, x)
	}
	a, b, c := in(x), in(dout), in(x)
	p.Forward(dev, a, a)
	p.Backward(dev, b, c, b)
	p.Backward(dev, in(dout), c, c)
	optest.Same(t, "dx in the place of x", out(c), out(b))
	return out(a), out(b)
}

// plain is f and dout·f' as transformers writes them.
func plain[F optest.Float](p swiglu.Pointwise, dout, x []F) (y, dx []F) {
	y, dx = make([]F, len(x)), make([]F, len(x))
	one := slices.Repeat([]F{1}, len(x))
	switch p.Function {
	case swiglu.ApproximateGELU:
		y, dx, _ = geglu(dout, x, one)
		return y, dx
	case swiglu.ExactGELU:
		for i, z := range x {
			phi := F(0.5) * (1 + F(math.Erf(float64(z)/math.Sqrt2)))
			y[i], dx[i] = z*phi, dout[i]*(phi+z*F(math.Exp(-float64(z*z)/2)/math.Sqrt(2*math.Pi)))
		}
		return y, dx
	}
	for i, z := range x {
		b := F(p.Bound)
		switch {
		case p.Function == swiglu.SquaredReLU:
			y[i], dx[i] = max(z, 0)*max(z, 0), dout[i]*2*max(z, 0)
		case z < -b || z > b:
			y[i] = min(max(z, -b), b)
		default:
			y[i], dx[i] = z, dout[i]
		}
	}
	return y, dx
}

// hold compares with float64.
func hold(t *testing.T, name string, p swiglu.Pointwise, dout, x, y, dx []float32) {
	t.Helper()
	sy, sx := plain(p, dout, x)
	ry, rx := plain(p, optest.To[float64](dout), optest.To[float64](x))
	optest.Within(t, name+" y", y, sy, ry)
	optest.Within(t, name+" dx", dx, sx, rx)
}

func TestPointwiseAgainstFloat64(t *testing.T) {
	r := optest.Rand(11)
	for _, level := range simd.Levels() {
		simd.Force(level)
		for _, p := range functions {
			for _, n := range []int{103, 9001} {
				x, dout := optest.Normal(r, n, 2), optest.Normal(r, n, 1)
				y, dx := applied(t, optest.CPU(t, 1), p, dout, x, 0)
				hold(t, fmt.Sprintf("%s %+v", level, p), p, dout, x, y, dx)
				for _, threads := range optest.Threads {
					again, dAgain := applied(t, optest.CPU(t, threads), p, dout, x, 0)
					optest.Same(t, "y", again, y)
					optest.Same(t, "dx", dAgain, dx)
				}
			}
		}
	}
}

func TestPointwisePTX(t *testing.T) {
	dev, r := optest.Device(t, 80), optest.Rand(12)
	for _, p := range functions {
		for _, n := range []int{1, 7, 1000, 5001} {
			x, dout := optest.Normal(r, n, 2), optest.Normal(r, n, 1)
			y, dx := applied(t, dev, p, dout, x, 0)
			hold(t, fmt.Sprintf("%+v", p), p, dout, x, y, dx)
			odd, dOdd := applied(t, dev, p, dout, x, 3)
			optest.Same(t, "y, unaligned", odd, y)
			optest.Same(t, "dx, unaligned", dOdd, dx)
		}
	}
}

// TestGELUTail: the tail keeps its digits where 1 + erf has none left, and far out there
// is no NaN. math.Erfc is the reference: z·½erfc(−z/√2).
func TestGELUTail(t *testing.T) {
	x := []float32{-1, -2, -4, -6, -8, -9.5, 0, 1e-20, 9.5, 40, -40, 1e20, -1e20}
	ones := slices.Repeat([]float32{1}, len(x))
	p := swiglu.Pointwise{Function: swiglu.ExactGELU}
	for _, dev := range []driver.Device{optest.CPU(t, 1), optest.Device(t, 80)} {
		y, dx := applied(t, dev, p, ones, x, 0)
		for i, z32 := range x {
			z := float64(z32)
			phi := math.Erfc(-z/math.Sqrt2) / 2
			slope := phi + z*math.Exp(-z*z/2)/math.Sqrt(2*math.Pi)
			// exp(−z²/2) takes over half an ulp of its argument: 24 of its own at z = −9.5.
			relative := 0x1p-24 * (8 + z*z)
			if want := z * phi; math.Abs(float64(y[i])-want) > relative*math.Abs(want)+1e-40 {
				t.Errorf("%v: gelu(%g) = %g, want %g", dev.Kind(), z, y[i], want)
			}
			if near := relative * (phi + math.Abs(slope-phi)); math.Abs(float64(dx[i])-slope) > near+1e-40 {
				t.Errorf("%v: gelu'(%g) = %g, want %g", dev.Kind(), z, dx[i], slope)
			}
		}
	}
}

// TestPointwisePTXTraffic: nothing is moved twice, and everything in full sectors.
func TestPointwisePTXTraffic(t *testing.T) {
	dev := optest.Sim(t)
	const n = 8192
	x := optest.In(t, dev, optest.Normal(optest.Rand(13), n, 1), 0)
	swiglu.Pointwise{Function: swiglu.ExactGELU}.Forward(dev, x, x)
	if c := dev.Last(); c.GlobalBytes() != 8*n || c.Global.Units != c.Global.Ideal {
		t.Errorf("%d bytes in %d sectors, want %d in %d", c.GlobalBytes(), c.Global.Units, 8*n, c.Global.Ideal)
	}
}
