package main

import (
	"math"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/ptx"
)

// TestCheckFindsErrors: of every case, outputs that are as they should be pass, on the host
// too, and those whose entries lie one further, or are 2 % larger, do not. What is one number
// alone, or the same everywhere, cannot lie one further.
func TestCheckFindsErrors(t *testing.T) {
	b := newBench(must2(open("cpu")), true, true)
	defer b.dev.Close()
	for _, c := range allCases(simModels) {
		j := c.setup(b.room)
		j.call()
		v := j.verify(c.Name())
		if s := v.verdict(); s != good {
			t.Errorf("%s: %s", c.Name(), s)
		}
		for i, o := range j.outputs {
			right := o.read
			for name, read := range map[string]func(int) float64{
				"one further": func(i int) float64 { return right((i + 1) % (o.rows * o.cols)) },
				"larger":      func(i int) float64 { return 1.02 * right(i) },
				"NaN":         func(int) float64 { return math.NaN() },
			} {
				if name == "one further" && o.rows*o.cols == 1 {
					continue
				}
				v.outputs[i].read = read
				if s := v.verdict(); !strings.HasPrefix(s, bad+": ") || !strings.Contains(s, o.name+"[") {
					t.Errorf("%s, %s %s: %s", c.Name(), o.name, name, s)
				}
			}
			v.outputs[i].read = right
		}
		b.room.free()
	}
}

// TestCheckFindsWrongKernels: a kernel whose PTX is wrong in one place.
func TestCheckFindsWrongKernels(t *testing.T) {
	for _, planted := range []struct{ family, from, to, cases string }{
		{"swiglu", "rcp.rn.f32", "sqrt.rn.f32", "swiglu_forward"},
		{"cast", "cvt.rn.bf16x2", "cvt.rz.bf16x2", "cast_narrow"},
	} {
		for _, f := range ptx.Families() {
			if f.Name() != planted.family {
				continue
			}
			text := strings.ReplaceAll(f.Text(), planted.from, planted.to)
			if text == f.Text() {
				t.Errorf("%s: no %s to replace", f.Name(), planted.from)
			}
			defer f.Replace(text)()
		}
		b := newBench(sim.New(sim.Options{}), true, true)
		b.check = true
		for _, c := range allCases(simModels) {
			if c.Op == planted.cases {
				if r := b.measure(c)[0]; !strings.HasPrefix(r.Check, bad) || r.Error != "" {
					t.Errorf("%s: %q %s", c.Name(), r.Check, r.Error)
				}
			}
		}
		b.dev.Close()
	}
}

// TestGenerations: calls take turns, each turn beginning with another.
func TestGenerations(t *testing.T) {
	b := newBench(must2(open("cpu")), true, true)
	defer b.dev.Close()
	b.budget = 0
	var order strings.Builder
	times := b.times(func() { order.WriteByte('a') }, func() { order.WriteByte('b') }, func() { order.WriteByte('c') })
	if want := strings.Repeat("abc", 2) + "abc" + "bca" + "cab"; order.String() != want || len(times) != 3 || len(times[2]) != 3 {
		t.Errorf("%s, want %s; %v", order.String(), want, times)
	}
	d := &ampere{Launcher: sim.New(sim.Options{Capability: 90})}
	if ptx.Hopper(d) || !ptx.Hopper(d.Launcher) || ptx.On(d) == ptx.On(d.Launcher) {
		t.Error("the sm_80 kernels' device is that of sm_90a")
	}
	var _ driver.Launcher = d
}
