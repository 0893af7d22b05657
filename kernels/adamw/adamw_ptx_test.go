package adamw_test

import (
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/adamw"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestPTX: three steps have the bits of the host twin, and so of torch.
func TestPTX(t *testing.T) {
	dev, host, r := optest.Device(t, 80), optest.CPU(t, 1), optest.Rand(4)
	for _, n := range []int{1, 9, 5003} {
		for _, shift := range []int{0, 1} {
			p, m, v := optest.Normal(r, n, 1), optest.Normal(r, n, 0.1), optest.Normal(r, n, 0.1)
			for i := range v {
				v[i] *= v[i]
			}
			in := func(x []float32) driver.F32 { return optest.In(t, dev, x, shift) }
			dp, dm, dv := in(p), in(m), in(v)
			for step := 1; step < 4; step++ {
				g := optest.Normal(r, n, 1)
				h := adamw.Hyper{LR: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: step, GradScale: 0.5}
				adamw.Step(host, h, adamw.Param{P: optest.Dev(p), G: optest.Dev(g), M: optest.Dev(m), V: optest.Dev(v)})
				adamw.Step(dev, h, adamw.Param{P: dp, G: in(g), M: dm, V: dv})
			}
			optest.Same(t, "p", optest.Out(t, dev, dp), p)
			optest.Same(t, "m", optest.Out(t, dev, dm), m)
			optest.Same(t, "v", optest.Out(t, dev, dv), v)
		}
	}
}

// TestBF16: Step with a copy also writes p rounded to bf16 there, on the host and on a
// device.
func TestBF16(t *testing.T) {
	r := optest.Rand(5)
	const n = 5003
	p, g, m, v := optest.Normal(r, n, 1), optest.Normal(r, n, 1), optest.Normal(r, n, 0.1), make([]float32, n)
	for i := range v {
		v[i] = m[i] * m[i]
	}
	h := adamw.Hyper{LR: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: 2, GradScale: 0.5}
	want := slices.Clone(p)
	adamw.Step(optest.CPU(t, 1), h, adamw.Param{P: optest.Dev(want), G: optest.Dev(g), M: optest.Dev(slices.Clone(m)), V: optest.Dev(slices.Clone(v))})
	rounded := make([]driver.BF16, n)
	cast.NarrowHost(want, rounded)
	for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80)} {
		in := func(x []float32) driver.F32 {
			if dev.Kind() == driver.CPU {
				return optest.Dev(slices.Clone(x))
			}
			return optest.In(t, dev, x, 0)
		}
		mem, err := dev.Alloc(2 * n)
		if err != nil {
			t.Fatal(err)
		}
		half, master := driver.View[driver.BF16](mem), in(p)
		adamw.Step(dev, h, adamw.Param{P: master, G: in(g), M: in(m), V: in(v), Half: half})
		got, err := driver.Read(dev, master)
		if err != nil {
			t.Fatal(err)
		}
		optest.Same(t, "p", got, want)
		if bits, err := driver.Read(dev, half); err != nil || !slices.Equal(bits, rounded) {
			t.Errorf("%v: the copy is not p rounded (%v)", dev.Kind(), err)
		}
	}
}

// TestList: 130 parameters of uneven lengths, every third of which has a copy in bf16, have
// the bits of the host twin, in three launches.
func TestList(t *testing.T) {
	dev, host, r := optest.Sim(t), optest.CPU(t, 1), optest.Rand(6)
	h := adamw.Hyper{LR: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: 2, GradScale: 0.5}
	const count = 130
	var there, here []adamw.Param
	for i := range count {
		n := i % 7 * 300 // some are empty, some have two blocks
		p, g, m, v := optest.Normal(r, n, 1), optest.Normal(r, n, 1), optest.Normal(r, n, 0.1), make([]float32, n)
		in := func(x []float32) driver.F32 { return optest.In(t, dev, x, i%2) }
		x := adamw.Param{P: in(p), G: in(g), M: in(m), V: in(v)}
		y := adamw.Param{P: optest.Dev(p), G: optest.Dev(g), M: optest.Dev(m), V: optest.Dev(v)}
		if i%3 == 0 && n > 0 {
			x.Half, y.Half = optest.InBF16(t, dev, p, 0), driver.FromHost(make([]driver.BF16, n))
		}
		there, here = append(there, x), append(here, y)
	}
	adamw.Step(dev, h, there...)
	if n := dev.Total("adamw_step").Launches; n != 3 {
		t.Errorf("%d launches, want 3 of 64 parameters at most", n)
	}
	adamw.Step(host, h, here...)
	for i, x := range there {
		optest.Same(t, "p", optest.Out(t, dev, x.P), here[i].P.Host())
		optest.Same(t, "m", optest.Out(t, dev, x.M), here[i].M.Host())
		optest.Same(t, "v", optest.Out(t, dev, x.V), here[i].V.Host())
		if bits, err := driver.Read(dev, x.Half); err != nil || !slices.Equal(bits, here[i].Half.Host()) {
			t.Errorf("parameter %d: the copy differs (%v)", i, err)
		}
	}
}

// TestTraffic: 30 bytes per element, in full sectors.
func TestTraffic(t *testing.T) {
	dev := optest.Sim(t)
	const n = 1 << 14
	x := func() driver.F32 { return optest.In(t, dev, make([]float32, n), 0) }
	mem, err := dev.Alloc(2 * n)
	if err != nil {
		t.Fatal(err)
	}
	adamw.Step(dev, adamw.Hyper{Step: 1, Eps: 1}, adamw.Param{P: x(), G: x(), M: x(), V: x(), Half: driver.View[driver.BF16](mem)})
	c := dev.Total("adamw_step").Global
	if c.LoadBytes != 16*n || c.StoreBytes != 14*n || c.Units != c.Ideal {
		t.Errorf("%d bytes loaded and %d stored, want %d and %d; %d sectors, ideal %d", c.LoadBytes, c.StoreBytes, 16*n, 14*n, c.Units, c.Ideal)
	}
}
