package swiglu_test

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// runPTX puts the outputs in the place of inputs.
func runPTX(t *testing.T, dev driver.Device, act swiglu.Activation, dout, gate, up []float32, shift int) result {
	in := func(x []float32) driver.F32 { return optest.In(t, dev, x, shift) }
	out, dgate, dup := in(gate), in(dout), in(up)
	swiglu.Forward(dev, act, out, in(up), out)
	swiglu.Backward(dev, act, dgate, in(gate), dup, dgate, dup)
	return result{optest.Out(t, dev, out), optest.Out(t, dev, dgate), optest.Out(t, dev, dup)}
}

func TestPTX(t *testing.T) {
	dev, r := optest.Device(t, 80), optest.Rand(9)
	for _, n := range []int{1, 7, 1000, 9001} {
		gate, up, dout := optest.Normal(r, n, 4), optest.Normal(r, n, 1), optest.Normal(r, n, 1)
		if n > 10 {
			copy(gate, []float32{0, 90, -90, 200, -200, 1e-20}) // no NaN at either end
		}
		g64, u64, d64 := optest.To[float64](gate), optest.To[float64](up), optest.To[float64](dout)
		got := runPTX(t, dev, swiglu.SiLU, dout, gate, up, 0)
		optest.Within(t, "out", got.out, optest.SwiGLU(gate, up), optest.SwiGLU(g64, u64))
		sg, su := optest.SwiGLUGrad(dout, gate, up)
		rg, ru := optest.SwiGLUGrad(d64, g64, u64)
		optest.Within(t, "dgate", got.dgate, sg, rg)
		optest.Within(t, "dup", got.dup, su, ru)
		odd := runPTX(t, dev, swiglu.SiLU, dout, gate, up, 3)
		optest.Same(t, "out, unaligned", odd.out, got.out)
		optest.Same(t, "dgate, unaligned", odd.dgate, got.dgate)
		optest.Same(t, "dup, unaligned", odd.dup, got.dup)
		// GELU against the host twin, which gelu_test.go holds to float64.
		want := run(optest.CPU(t, 1), swiglu.GELUTanh, dout, gate, up)
		got = runPTX(t, dev, swiglu.GELUTanh, dout, gate, up, 0)
		optest.Near(t, "gelu out", got.out, want.out, 2e-7)
		optest.Near(t, "gelu dgate", got.dgate, want.dgate, 5e-7)
		optest.Near(t, "gelu dup", got.dup, want.dup, 2e-7)
	}
}
