package xent_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/kernels/xent"
)

// problem is one random call.
type problem struct {
	p          xent.Params
	h, w, dw   []float32 // dw: its content before the call
	weight     []float32
	targets    []int32
	lossesOnly bool
}

func newProblem(seed uint64, p xent.Params, std float64) problem {
	r := optest.Rand(seed)
	x := problem{
		p: p, h: optest.Normal(r, p.Rows*p.Hidden, std), w: optest.Normal(r, p.Vocab*p.Hidden, 1),
		dw: optest.Normal(r, p.Vocab*p.Hidden, 0.01), weight: make([]float32, p.Rows), targets: make([]int32, p.Rows),
	}
	for t := range x.targets {
		x.targets[t] = int32(r.IntN(p.Vocab))
		if r.IntN(3) == 0 {
			x.targets[t] = -100
		}
		x.weight[t] = float32(r.Float64())
	}
	return x
}

// result is everything the kernel writes.
type result struct{ loss, dh, dw []float32 }

func run(dev driver.Device, x problem) result {
	y := result{make([]float32, x.p.Rows), make([]float32, len(x.h)), append([]float32(nil), x.dw...)}
	for i := range y.dh {
		y.dh[i] = 1e30 // overwritten
	}
	f := optest.Dev
	if x.lossesOnly {
		xent.Run(dev, x.p, f(x.h), f(x.w), x.targets, driver.F32{}, f(y.loss), driver.F32{}, driver.F32{})
		return y
	}
	xent.Run(dev, x.p, f(x.h), f(x.w), x.targets, f(x.weight), f(y.loss), f(y.dh), f(y.dw))
	return y
}

func plain[F optest.Float](x problem) *optest.Xent[F] {
	scale := F(x.p.LogitScale)
	if scale == 0 {
		scale = 1
	}
	return &optest.Xent[F]{
		Rows: x.p.Rows, Hidden: x.p.Hidden, Vocab: x.p.Vocab,
		Smoothing: F(x.p.Smoothing), SoftCap: F(x.p.SoftCap), LogitScale: scale,
		H: optest.To[F](x.h), W: optest.To[F](x.w), Targets: x.targets, Weight: optest.To[F](x.weight),
	}
}

func problems() []problem {
	ps := []problem{
		newProblem(1, xent.Params{Rows: 1, Hidden: 1, Vocab: 1}, 1),
		newProblem(2, xent.Params{Rows: 40, Hidden: 32, Vocab: 1500}, 0.3),
		newProblem(3, xent.Params{Rows: 30, Hidden: 24, Vocab: 257, Smoothing: 0.1}, 1),
		newProblem(4, xent.Params{Rows: 30, Hidden: 24, Vocab: 1100, SoftCap: 5, Smoothing: 0.05}, 1),
		newProblem(5, xent.Params{Rows: 30, Hidden: 24, Vocab: 1100, SoftCap: 30, LogitScale: 0.25}, 1),
		// Logits of several hundred: nothing may overflow.
		newProblem(6, xent.Params{Rows: 20, Hidden: 50, Vocab: 300}, 20),
	}
	r := optest.Rand(7)
	for i := range uint64(8) {
		ps = append(ps, newProblem(10+i, xent.Params{Rows: r.IntN(50), Hidden: 1 + r.IntN(60), Vocab: 1 + r.IntN(400)}, 0.5))
	}
	return ps
}

func TestAgainstFloat64(t *testing.T) {
	dev := optest.CPU(t, 2)
	for _, level := range simd.Levels() {
		simd.Force(level)
		for _, x := range problems() {
			name := fmt.Sprintf("%s %+v", level, x.p)
			got := run(dev, x)
			sl, sh, sw := plain[float32](x).Run()
			rl, rh, rw := plain[float64](x).Run()
			for i, v := range x.dw {
				sw[i] += v
				rw[i] += float64(v)
			}
			optest.Within(t, name+" loss", got.loss, sl, rl)
			optest.Within(t, name+" dh", got.dh, sh, rh)
			optest.Within(t, name+" dw", got.dw, sw, rw)
			x.lossesOnly = true
			optest.Same(t, name+" losses only", run(dev, x).loss, got.loss)
		}
	}
}

func TestReferenceGradient(t *testing.T) {
	for _, p := range []xent.Params{
		{Rows: 5, Hidden: 3, Vocab: 7},
		{Rows: 4, Hidden: 3, Vocab: 6, Smoothing: 0.2, SoftCap: 2, LogitScale: 0.7},
	} {
		ref := plain[float64](newProblem(8, p, 1))
		_, dh, dw := ref.Run()
		total := func() float64 { l, _, _ := ref.Run(); return optest.Inner(l, ref.Weight) }
		optest.FiniteDifference(t, "dh", total, ref.H, dh)
		optest.FiniteDifference(t, "dw", total, ref.W, dw)
	}
}

func TestThreads(t *testing.T) {
	for _, x := range problems() {
		want := run(optest.CPU(t, optest.Threads[0]), x)
		for _, n := range optest.Threads[1:] {
			got := run(optest.CPU(t, n), x)
			optest.Same(t, "loss", got.loss, want.loss)
			optest.Same(t, "dh", got.dh, want.dh)
			optest.Same(t, "dw", got.dw, want.dw)
		}
	}
}

// TestRowAlone: a row's loss and dh do not depend on the other rows, even if the batch needs
// several blocks of logits.
func TestRowAlone(t *testing.T) {
	dev := optest.CPU(t, 2)
	x := newProblem(9, xent.Params{Rows: 1100, Hidden: 8, Vocab: 90}, 1)
	all := run(dev, x)
	for _, row := range []int{0, 3, 511, 512, 700, 1099} {
		one := x
		one.p.Rows = 1
		one.h, one.weight, one.targets = x.h[row*8:row*8+8], x.weight[row:row+1], x.targets[row:row+1]
		got := run(dev, one)
		optest.Same(t, "loss", got.loss, all.loss[row:row+1])
		optest.Same(t, "dh", got.dh, all.dh[row*8:row*8+8])
	}
}

func TestUnlabelledRowsAreZero(t *testing.T) {
	dev := optest.CPU(t, 2)
	x := newProblem(9, xent.Params{Rows: 6, Hidden: 4, Vocab: 9}, 1)
	for i := range x.targets {
		x.targets[i] = -1
	}
	x.h[0] = float32(-1e38) // never read into a result
	got := run(dev, x)
	optest.Same(t, "loss", got.loss, make([]float32, 6))
	optest.Same(t, "dh", got.dh, make([]float32, 24))
	optest.Same(t, "dw", got.dw, x.dw)
}

func TestWorkspace(t *testing.T) {
	dev, p := optest.CPU(t, 1), xent.Params{Rows: 100000, Hidden: 2048, Vocab: 128256}
	if got, want := p.Workspace(dev, false, 100000), 4*196*(128256+2*2048); got != want {
		t.Errorf("workspace %d bytes, want %d", got, want)
	}
	if got, want := p.Workspace(dev, false, 3), 4*3*(128256+2*2048); got != want {
		t.Errorf("workspace %d bytes, want %d", got, want)
	}
}

// TestDeviceWorkspace: what a call leaves allocated on the interpreter, which does not round
// allocations up.
func TestDeviceWorkspace(t *testing.T) {
	for capability, open := range map[int]func(testing.TB) *sim.Device{80: optest.Sim, 90: optest.Hopper} {
		for _, bf16 := range []bool{false, true} {
			dev := open(t)
			x := labelledBF16(35, xent.Params{Rows: 96, Hidden: 64, Vocab: 700})
			h, w := in(t, dev, x.h), in(t, dev, x.w)
			hb, wb := put(t, dev, x.h), put(t, dev, x.w)
			loss, dh := in(t, dev, make([]float32, 96)), in(t, dev, x.h)
			before := dev.Used()
			if bf16 {
				xent.RunBF16(dev, x.p, hb, wb, x.targets, driver.F32{}, loss, dh, driver.F32{})
			} else {
				xent.Run(dev, x.p, h, w, x.targets, driver.F32{}, loss, dh, driver.F32{})
			}
			got, want := int(dev.Used()-before), x.p.Workspace(dev, bf16, 96)
			tables := 2 * 4 * 96 // for rows and targets
			if d := got - tables - want; d < 0 || d > 1024 {
				t.Errorf("capability %d, bf16 %v: %d bytes and %d of tables, want %d", capability, bf16, got-tables, tables, want)
			}
		}
	}
}

func TestPanics(t *testing.T) {
	dev := optest.CPU(t, 1)
	x := newProblem(9, xent.Params{Rows: 2, Hidden: 4, Vocab: 9}, 1)
	x.targets = []int32{1, 9}
	optest.Panics(t, "xent: targets[1] = 9, the vocabulary has 9", func() { run(dev, x) })
	x.p.Vocab = 8
	optest.Panics(t, "xent: w is not [Vocab, Hidden]", func() { run(dev, x) })
}

func TestGolden(t *testing.T) {
	var cases []struct {
		Rows, Hidden, Vocab int
		Smoothing           float32
		SoftCap             float32 `json:"soft_cap"`
		LogitScale          float32 `json:"logit_scale"`
		H, W, Weight        []float32
		Targets             []int32
		Loss, DH, DW        []float32
	}
	optest.Golden(t, &cases)
	dev := optest.CPU(t, 2)
	for _, c := range cases {
		y := run(dev, problem{
			p: xent.Params{
				Rows: c.Rows, Hidden: c.Hidden, Vocab: c.Vocab, Smoothing: c.Smoothing,
				SoftCap: c.SoftCap, LogitScale: c.LogitScale,
			},
			h: c.H, w: c.W, dw: make([]float32, len(c.W)), weight: c.Weight, targets: c.Targets,
		})
		optest.Near(t, "loss", y.loss, c.Loss, 1e-6)
		optest.Near(t, "dh", y.dh, c.DH, 1e-6)
		optest.Near(t, "dw", y.dw, c.DW, 1e-6)
	}
}
