// Package dev_test measures the device functions of math.cuh on the interpreter.
package dev_test

import (
	_ "embed"
	"math"
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed probe.sm80.ptx.br
var probe string

// ulps is the error in units in the last place of the exact value as a float32.
func ulps(got float32, want float64) float64 {
	w := float32(want)
	if got == w || math.IsNaN(float64(got)) && math.IsNaN(want) {
		return 0
	}
	if math.IsInf(float64(w), 0) || math.IsInf(float64(got), 0) {
		return math.Inf(1)
	}
	a := math.Abs(want)
	_, e := math.Frexp(max(a, 0x1p-126))
	return math.Abs(float64(got)-want) / math.Ldexp(1, e-24)
}

type probeParameters struct {
	in, out uintptr
	n       int32
}

var probes = ptx.Declare[probeParameters](ptx.New("probe", probe), "probe_*")

func TestAccuracy(t *testing.T) {
	dev := optest.Device(t, 80)
	for _, c := range []struct {
		kernel   string
		lo, hi   float64
		f        func(float64) float64
		bound    float64
		specials []float32
	}{
		{"probe_exp", -87.3, 88.7, math.Exp, 1, []float32{0, 88.72283, 88.73, 200, -200, -100, -104.5}},
		{"probe_log", 0x1p-120, 1e9, math.Log, 1, []float32{1, 1.0000001, 0.9999999, 0x1p-126, math.MaxFloat32}},
		{"probe_tanh", -10, 10, math.Tanh, 2, []float32{0, 1e-30, 0.55, 0.54999, 90, -200}},
		{"probe_sigmoid", -85, 85, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }, 3, []float32{0, 200, -200}},
	} {
		r := optest.Rand(1)
		x := append([]float32{float32(math.NaN()), float32(math.Inf(1))}, c.specials...)
		for len(x) < 1<<16 {
			u := c.lo + (c.hi-c.lo)*r.Float64()
			if len(x)%2 == 0 { // as many near 0, or near 1
				u = math.Exp(math.Log(c.hi) * (2*r.Float64() - 1))
			}
			x = append(x, float32(u))
		}
		in, out := optest.In(t, dev, x, 0), optest.In(t, dev, x, 0)
		probes.Launch(ptx.On(dev), c.kernel, ptx.Grid(len(x)/256, 256), &probeParameters{in.Addr(), out.Addr(), int32(len(x))})
		var worst float64
		var at float32
		for i, y := range optest.Out(t, dev, out) {
			if c.kernel == "probe_log" && i == 1 { // infinity is not an argument of log
				continue
			}
			if u := ulps(y, c.f(float64(x[i]))); !(u <= worst) {
				worst, at = u, x[i]
			}
		}
		t.Logf("%s: %.2f ulp at %v", c.kernel, worst, at)
		if !(worst <= c.bound) {
			t.Errorf("%s: %v ulp at %v, want at most %v", c.kernel, worst, at, c.bound)
		}
	}
}

func TestLayouts(t *testing.T) {
	optest.Layouts(t, "probe.sm80.ptx")
	optest.Layouts(t, "probe.sm90a.ptx")
}
