package swiglu_test

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/kernels/swiglu"
)

type result struct{ out, dgate, dup []float32 }

func run(dev driver.Device, act swiglu.Activation, dout, gate, up []float32) result {
	r := result{make([]float32, len(gate)), make([]float32, len(gate)), make([]float32, len(gate))}
	f := optest.Dev
	swiglu.Forward(dev, act, f(gate), f(up), f(r.out))
	swiglu.Backward(dev, act, f(dout), f(gate), f(up), f(r.dgate), f(r.dup))
	return r
}

func TestAgainstFloat64(t *testing.T) {
	r := optest.Rand(1)
	for _, level := range simd.Levels() {
		simd.Force(level)
		for _, n := range []int{0, 1, 7, 1000, 9001} {
			gate, up, dout := optest.Normal(r, n, 4), optest.Normal(r, n, 1), optest.Normal(r, n, 1)
			if n > 10 {
				copy(gate, []float32{0, 90, -90, 200, -200, 1e-20}) // no NaN at either end
			}
			got := run(optest.CPU(t, 1), swiglu.SiLU, dout, gate, up)
			g64, u64, d64 := optest.To[float64](gate), optest.To[float64](up), optest.To[float64](dout)
			optest.Within(t, level+" out", got.out, optest.SwiGLU(gate, up), optest.SwiGLU(g64, u64))
			sg, su := optest.SwiGLUGrad(dout, gate, up)
			rg, ru := optest.SwiGLUGrad(d64, g64, u64)
			optest.Within(t, level+" dgate", got.dgate, sg, rg)
			optest.Within(t, level+" dup", got.dup, su, ru)
			for _, threads := range optest.Threads {
				again := run(optest.CPU(t, threads), swiglu.SiLU, dout, gate, up)
				optest.Same(t, level+" out", again.out, got.out)
				optest.Same(t, level+" dgate", again.dgate, got.dgate)
				optest.Same(t, level+" dup", again.dup, got.dup)
			}
		}
	}
}

func TestReferenceGradient(t *testing.T) {
	r := optest.Rand(2)
	gate, up, dout := optest.To[float64](optest.Normal(r, 9, 2)), optest.To[float64](optest.Normal(r, 9, 1)), optest.To[float64](optest.Normal(r, 9, 1))
	dgate, dup := optest.SwiGLUGrad(dout, gate, up)
	f := func() float64 { return optest.Inner(optest.SwiGLU(gate, up), dout) }
	optest.FiniteDifference(t, "dgate", f, gate, dgate)
	optest.FiniteDifference(t, "dup", f, up, dup)
}

func TestGolden(t *testing.T) {
	var g struct{ Gate, Up, Dout, Out, Dgate, Dup []float32 }
	optest.Golden(t, &g)
	got := run(optest.CPU(t, 2), swiglu.SiLU, g.Dout, g.Gate, g.Up)
	optest.Near(t, "out", got.out, g.Out, 2e-7)
	optest.Near(t, "dgate", got.dgate, g.Dgate, 2e-7)
	optest.Near(t, "dup", got.dup, g.Dup, 2e-7)
}

// TestInPlace: the outputs may take the place of the inputs that are done with.
func TestInPlace(t *testing.T) {
	r := optest.Rand(3)
	gate, up, dout := optest.Normal(r, 5000, 2), optest.Normal(r, 5000, 1), optest.Normal(r, 5000, 1)
	dev, f := optest.CPU(t, 2), optest.Dev
	want := run(dev, swiglu.SiLU, dout, gate, up)
	out := append([]float32(nil), gate...)
	swiglu.Forward(dev, swiglu.SiLU, f(out), f(up), f(out))
	optest.Same(t, "out over gate", out, want.out)
	swiglu.Backward(dev, swiglu.SiLU, f(dout), f(gate), f(up), f(gate), f(up))
	optest.Same(t, "dgate over gate", gate, want.dgate)
	optest.Same(t, "dup over up", up, want.dup)
}
