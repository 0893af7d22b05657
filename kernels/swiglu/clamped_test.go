package swiglu_test

import (
	"math"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// clamped is the definition; the clamps are written as torch's.
func clamped[F optest.Float](c swiglu.Clamped, gate, up []F) (out []F) {
	for i := range gate {
		g, u := min(gate[i], F(c.Limit)), min(max(up[i], -F(c.Limit)), F(c.Limit))
		out = append(out, (u+1)*(g/(1+F(math.Exp(float64(-F(c.Alpha)*g))))))
	}
	return out
}

func clampedGrad[F optest.Float](c swiglu.Clamped, dout, gate, up []F) (dgate, dup []F) {
	l, a := F(c.Limit), F(c.Alpha)
	for i := range gate {
		g, u := min(gate[i], l), min(max(up[i], -l), l)
		s := 1 / (1 + F(math.Exp(float64(-a*g))))
		dg, du := dout[i]*(u+1)*(s+a*g*s*(1-s)), dout[i]*g*s
		if gate[i] > l {
			dg = 0
		}
		if up[i] < -l || up[i] > l {
			du = 0
		}
		dgate, dup = append(dgate, dg), append(dup, du)
	}
	return dgate, dup
}

func runClamped(dev driver.Device, c swiglu.Clamped, dout, gate, up []float32) (out, dgate, dup []float32) {
	out, dgate, dup = slices.Clone(gate), slices.Clone(dout), slices.Clone(up) // in the places of inputs
	f := optest.Dev
	c.Forward(dev, f(out), f(up), f(out))
	c.Backward(dev, f(dgate), f(gate), f(dup), f(dgate), f(dup))
	return out, dgate, dup
}

// TestClamped: the definition in float64, whose gradient differences confirm, with limits
// that bite on every side.
func TestClamped(t *testing.T) {
	r := optest.Rand(31)
	for _, c := range []swiglu.Clamped{{Alpha: 1.702, Limit: 7}, {Alpha: 0.9, Limit: 1.25}} {
		for _, n := range []int{0, 1, 9001} {
			gate, up, dout := optest.Normal(r, n, 3), optest.Normal(r, n, 3), optest.Normal(r, n, 1)
			if n > 10 {
				copy(gate, []float32{c.Limit, 200, -200, 0})
				copy(up, []float32{c.Limit, -c.Limit, 200, -200})
			}
			out, dgate, dup := runClamped(optest.CPU(t, 1), c, dout, gate, up)
			g64, u64, d64 := optest.To[float64](gate), optest.To[float64](up), optest.To[float64](dout)
			optest.Within(t, "out", out, clamped(c, gate, up), clamped(c, g64, u64))
			sg, su := clampedGrad(c, dout, gate, up)
			rg, ru := clampedGrad(c, d64, g64, u64)
			optest.Within(t, "dgate", dgate, sg, rg)
			optest.Within(t, "dup", dup, su, ru)
			for _, threads := range optest.Threads {
				again, g, u := runClamped(optest.CPU(t, threads), c, dout, gate, up)
				optest.Same(t, "out", again, out)
				optest.Same(t, "dgate", g, dgate)
				optest.Same(t, "dup", u, dup)
			}
		}
		gate, up, dout := optest.To[float64](optest.Normal(r, 30, 2)), optest.To[float64](optest.Normal(r, 30, 2)), optest.To[float64](optest.Normal(r, 30, 1))
		dgate, dup := clampedGrad(c, dout, gate, up)
		loss := func() float64 { return optest.Inner(clamped(c, gate, up), dout) }
		optest.FiniteDifference(t, "dgate", loss, gate, dgate)
		optest.FiniteDifference(t, "dup", loss, up, dup)
	}
}

// TestPTXClamped: the tolerance rule, at every alignment.
func TestPTXClamped(t *testing.T) {
	dev, r := optest.Device(t, 80), optest.Rand(32)
	for _, n := range []int{1, 7, 2050} {
		for shift := range 2 {
			c := swiglu.Clamped{Alpha: 1.702, Limit: 1.5}
			gate, up, dout := optest.Normal(r, n, 2), optest.Normal(r, n, 2), optest.Normal(r, n, 1)
			if n > 10 {
				copy(gate, []float32{c.Limit, 200, -200, 0})
				copy(up, []float32{c.Limit, -c.Limit, 200, -200})
			}
			in := func(x []float32) driver.F32 { return optest.In(t, dev, x, shift) }
			out, dgate, dup := in(gate), in(dout), in(up)
			c.Forward(dev, out, in(up), out)
			c.Backward(dev, dgate, in(gate), dup, dgate, dup)
			g64, u64, d64 := optest.To[float64](gate), optest.To[float64](up), optest.To[float64](dout)
			optest.Within(t, "out", optest.Out(t, dev, out), clamped(c, gate, up), clamped(c, g64, u64))
			sg, su := clampedGrad(c, dout, gate, up)
			rg, ru := clampedGrad(c, d64, g64, u64)
			optest.Within(t, "dgate", optest.Out(t, dev, dgate), sg, rg)
			optest.Within(t, "dup", optest.Out(t, dev, dup), su, ru)
		}
	}
}
