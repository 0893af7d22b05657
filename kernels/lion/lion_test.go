package lion_test

import (
	"math"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/lion"
	"dataflex.dev/dataflex/kernels/optest"
)

// Two steps of three elements, computed by hand: β₁ ½, β₂ ¾, rate ⅛, decay ½. All numbers
// are exact in float32.
func TestByHand(t *testing.T) {
	p, m := []float32{1, -2, 4}, []float32{0, 0, 0}
	h := lion.Hyper{LR: 0.125, Beta1: 0.5, Beta2: 0.75, WeightDecay: 0.5, GradScale: 2}
	dev := optest.CPU(t, 1)
	lion.Step(dev, optest.Dev(p), optest.Dev([]float32{1, -1, 0}), optest.Dev(m), h)
	if want := []float32{0.9375 - 0.125, -1.875 + 0.125, 3.75}; !slices.Equal(p, want) {
		t.Errorf("p %v, want %v", p, want)
	}
	if want := []float32{0.5, -0.5, 0}; !slices.Equal(m, want) {
		t.Errorf("m %v, want %v", m, want)
	}
	// ½·½ + ½·2·g has the opposite sign of the momentum where g = -½.
	lion.Step(dev, optest.Dev(p), optest.Dev([]float32{-0.5, -0.25, 1}), optest.Dev(m), h)
	if want := []float32{0.8125*0.9375 + 0.125, -1.75*0.9375 + 0.125, 3.75*0.9375 - 0.125}; !slices.Equal(p, want) {
		t.Errorf("p %v, want %v", p, want)
	}
	if want := []float32{0.125, -0.5, 0.5}; !slices.Equal(m, want) {
		t.Errorf("m %v, want %v", m, want)
	}
}

// Three steps on a device, and with several threads, have the bits of one thread, and m is
// the float64 average of the gradients.
func TestPTX(t *testing.T) {
	dev, host, many, r := optest.Device(t, 80), optest.CPU(t, 1), optest.CPU(t, 3), optest.Rand(4)
	for _, n := range []int{1, 9, 40003} {
		for _, shift := range []int{0, 1} {
			p, m := optest.Normal(r, n, 1), optest.Normal(r, n, 0.1)
			p2, m2, exact := slices.Clone(p), slices.Clone(m), optest.To[float64](m)
			in := func(x []float32) driver.F32 { return optest.In(t, dev, x, shift) }
			dp, dm := in(p), in(m)
			for range 3 {
				g := optest.Normal(r, n, 1)
				h := lion.Hyper{LR: 0.01, Beta1: 0.9, Beta2: 0.99, WeightDecay: 0.1, GradScale: 0.5}
				lion.Step(host, optest.Dev(p), optest.Dev(g), optest.Dev(m), h)
				lion.Step(many, optest.Dev(p2), optest.Dev(g), optest.Dev(m2), h)
				lion.Step(dev, dp, in(g), dm, h)
				for i := range exact {
					exact[i] = 0.99*exact[i] + 0.01*0.5*float64(g[i])
				}
			}
			optest.Same(t, "p on threads", p2, p)
			optest.Same(t, "p", optest.Out(t, dev, dp), p)
			optest.Same(t, "m", optest.Out(t, dev, dm), m)
			for i := range m {
				if math.Abs(float64(m[i])-exact[i]) > 2e-7 {
					t.Fatalf("m[%d] = %v, want %v", i, m[i], exact[i])
				}
			}
		}
	}
}
