package swiglu_test

import (
	"math"
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// geglu is the op as transformers writes it, with tanh, and its gradients.
func geglu[F optest.Float](dout, gate, up []F) (out, dgate, dup []F) {
	out, dgate, dup = make([]F, len(gate)), make([]F, len(gate)), make([]F, len(gate))
	c := F(math.Sqrt(2 / math.Pi))
	for i, z := range gate {
		t := F(math.Tanh(float64(c * (z + 0.044715*z*z*z))))
		act := 0.5 * z * (1 + t)
		slope := 0.5*(1+t) + 0.5*z*(1-t*t)*c*(1+3*0.044715*z*z)
		out[i], dgate[i], dup[i] = act*up[i], dout[i]*up[i]*slope, dout[i]*act
	}
	return out, dgate, dup
}

func TestGELUAgainstFloat64(t *testing.T) {
	r := optest.Rand(4)
	for _, level := range simd.Levels() {
		simd.Force(level)
		for _, n := range []int{1, 7, 9001} {
			gate, up, dout := optest.Normal(r, n, 2), optest.Normal(r, n, 1), optest.Normal(r, n, 1)
			ro, rg, ru := geglu(optest.To[float64](dout), optest.To[float64](gate), optest.To[float64](up))
			so, sg, su := geglu(dout, gate, up)
			for _, threads := range optest.Threads {
				got := run(optest.CPU(t, threads), swiglu.GELUTanh, dout, gate, up)
				optest.Within(t, level+" out", got.out, so, ro)
				optest.Within(t, level+" dgate", got.dgate, sg, rg)
				optest.Within(t, level+" dup", got.dup, su, ru)
			}
		}
	}
}

// TestGELUFarOut: no NaN where the cube overflows.
func TestGELUFarOut(t *testing.T) {
	gate := []float32{0, 90, -90, 1e20, -1e20}
	ones := []float32{1, 1, 1, 1, 1}
	got := run(optest.CPU(t, 1), swiglu.GELUTanh, ones, gate, ones)
	for i, want := range [][2]float32{{0, 0.5}, {90, 1}, {0, 0}, {1e20, 1}, {0, 0}} {
		if got.out[i] != want[0] || got.dgate[i] != want[1] {
			t.Errorf("gate %g: %g, gradient %g, want %g", gate[i], got.out[i], got.dgate[i], want)
		}
	}
}

func TestGELUReferenceGradient(t *testing.T) {
	r := optest.Rand(5)
	gate, up, dout := optest.To[float64](optest.Normal(r, 9, 2)), optest.To[float64](optest.Normal(r, 9, 1)), optest.To[float64](optest.Normal(r, 9, 1))
	_, dgate, dup := geglu(dout, gate, up)
	f := func() float64 { out, _, _ := geglu(dout, gate, up); return optest.Inner(out, dout) }
	optest.FiniteDifference(t, "dgate", f, gate, dgate)
	optest.FiniteDifference(t, "dup", f, up, dup)
}
