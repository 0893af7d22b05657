package attention_test

import (
	"fmt"
	"math"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
)

// nearest rounds to bf16, to nearest even.
func nearest(x float32) float32 {
	b := math.Float32bits(x)
	return math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff)
}

// newBF16 is newProblem with inputs that are exact in bf16.
func newBF16(seed uint64, p attention.Params, std float64) problem {
	x := newProblem(seed, p, std)
	for _, s := range [][]float32{x.q, x.k, x.v, x.do} {
		for i, v := range s {
			s[i] = nearest(v)
		}
	}
	return x
}

func halves(x []float32) []driver.BF16 {
	y := make([]driver.BF16, len(x))
	for i, v := range x {
		y[i] = driver.BF16(math.Float32bits(v) >> 16)
	}
	return y
}

// upload copies bf16 numbers to the device.
func upload(t *testing.T, dev driver.Device, x []float32) driver.Slice[driver.BF16] {
	t.Helper()
	m, err := dev.Alloc(2 * len(x))
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 0, 2*len(x))
	for _, v := range halves(x) {
		b = append(b, byte(v), byte(v>>8))
	}
	if err := dev.CopyIn(m, b); err != nil {
		t.Fatal(err)
	}
	return driver.View[driver.BF16](m)
}

func runBF16(t *testing.T, dev driver.Launcher, x problem) result {
	t.Helper()
	in := func(x []float32) driver.F32 { return optest.In(t, dev, x, 0) }
	out := func(x driver.F32) []float32 { return optest.Out(t, dev, x) }
	tokens := int(x.p.Segments[len(x.p.Segments)-1])
	q, k, v, do := upload(t, dev, x.q), upload(t, dev, x.k), upload(t, dev, x.v), upload(t, dev, x.do)
	o, lse, dq, dk, dv := in(garbage(len(x.q))), in(garbage(x.p.Heads*tokens)), in(garbage(len(x.q))), in(garbage(len(x.k))), in(garbage(len(x.k)))
	attention.ForwardBF16(dev, x.p, attention.Inputs[driver.BF16]{Q: q, K: k, V: v}, o, lse)
	attention.BackwardBF16(dev, x.p, attention.Inputs[driver.BF16]{Q: q, K: k, V: v}, o, lse, do, attention.Gradients{Q: dq, K: dk, V: dv})
	return result{out(o), out(lse), out(dq), out(dk), out(dv), nil}
}

// withinBF16 applies the tolerance rule to the results of dev: plain is float32 with p and
// ds rounded to bf16 as in the kernels. A GPU's tensor cores do not round the sums of
// scores, and so lse, to nearest.
func withinBF16(t *testing.T, dev driver.Device, x problem, got result) {
	t.Helper()
	name, small, ref := fmt.Sprintf("%+v", x.p), plain[float32](x), plain[float64](x)
	small.Round = nearest
	so, sl := small.Forward()
	ro, rl := ref.Forward()
	optest.Within(t, name+" o", got.o, so, ro)
	if dev.Kind() == driver.Sim {
		optest.Within(t, name+" lse", got.lse, sl, rl)
	} else {
		optest.Near(t, name+" lse", got.lse, optest.To[float32](rl), 1e-5)
	}
	sq, sk, sv := small.Backward(x.do)
	rq, rk, rv := ref.Backward(optest.To[float64](x.do))
	optest.Within(t, name+" dq", got.dq, sq, rq)
	optest.Within(t, name+" dk", got.dk, sk, rk)
	optest.Within(t, name+" dv", got.dv, sv, rv)
}

// problemsBF16 are segments of different lengths, one token among them, shared heads,
// windows, caps, head lengths of every kernel and between them.
func problemsBF16() []problem {
	r := optest.Rand(40)
	ps := []problem{
		newBF16(41, attention.Params{Segments: []int32{0, 1}, Heads: 1, KVHeads: 1, HeadDim: 8}, 1),
		newBF16(42, attention.Params{Segments: []int32{0, 64, 64, 193}, Heads: 2, KVHeads: 2, HeadDim: 16}, 1),
		newBF16(43, attention.Params{Segments: []int32{0, 140}, Heads: 2, KVHeads: 1, HeadDim: 64, Window: 70}, 1),
		newBF16(44, attention.Params{Segments: []int32{0, 100, 101}, Heads: 2, KVHeads: 1, HeadDim: 128, SoftCap: 5}, 0.5),
		newBF16(45, attention.Params{Segments: []int32{0, 3, 150}, Heads: 2, KVHeads: 1, HeadDim: 128}, 0.5),
		newBF16(46, attention.Params{Segments: []int32{0, 20}, Heads: 2, KVHeads: 2, HeadDim: 72, Window: 2}, 1),
		// Scores of several hundred: nothing may overflow.
		newBF16(47, attention.Params{Segments: []int32{0, 100}, Heads: 1, KVHeads: 1, HeadDim: 64}, 6),
	}
	for i := range uint64(6) {
		kv := 1 + r.IntN(2)
		p := attention.Params{
			Segments: optest.Segments(r, 1+r.IntN(4), 70), KVHeads: kv, Heads: kv * (1 + r.IntN(3)),
			HeadDim: 8 * (1 + r.IntN(9)), Window: int(i%2) * (1 + r.IntN(80)), SoftCap: float32(i%3/2) * 3,
		}
		ps = append(ps, newBF16(50+i, p, 0.5))
	}
	return ps
}

func TestBF16(t *testing.T) {
	dev := optest.Device(t, 80)
	for _, x := range problemsBF16() {
		withinBF16(t, dev, x, runBF16(t, dev, x))
	}
}

// onHost is runBF16 in the host's memory.
func onHost(dev driver.Device, x problem) result {
	f, h := optest.Dev, func(x []float32) driver.Slice[driver.BF16] { return driver.FromHost(halves(x)) }
	tokens := int(x.p.Segments[len(x.p.Segments)-1])
	y := result{garbage(len(x.q)), garbage(x.p.Heads * tokens), garbage(len(x.q)), garbage(len(x.k)), garbage(len(x.k)), nil}
	attention.ForwardBF16(dev, x.p, attention.Inputs[driver.BF16]{Q: h(x.q), K: h(x.k), V: h(x.v)}, f(y.o), f(y.lse))
	attention.BackwardBF16(dev, x.p, attention.Inputs[driver.BF16]{Q: h(x.q), K: h(x.k), V: h(x.v)}, f(y.o), f(y.lse), h(x.do), attention.Gradients{Q: f(y.dq), K: f(y.dk), V: f(y.dv)})
	return y
}

// TestBF16Host: on the host, without a unit for bf16 and with SoftCap, it is Forward and Backward
// of the widened inputs.
func TestBF16Host(t *testing.T) {
	dev := optest.CPU(t, 2)
	defer simd.ForceUnit(simd.Unit())
	simd.ForceUnit("")
	for _, x := range problemsBF16()[:4] {
		same(t, fmt.Sprintf("%+v", x.p), onHost(dev, x), run(dev, x))
	}
}

// unitProblems are problemsBF16 and segments of several tiles and blocks.
func unitProblems() []problem {
	return append(problemsBF16(),
		newBF16(70, attention.Params{Segments: []int32{0, 60, 330}, Heads: 3, KVHeads: 1, HeadDim: 32}, 1),
		newBF16(71, attention.Params{Segments: []int32{0, 300}, Heads: 1, KVHeads: 1, HeadDim: 64, Window: 150}, 1),
		newBF16(72, attention.Params{Segments: []int32{0, 560}, Heads: 1, KVHeads: 1, HeadDim: 8, Window: 20}, 1),
	)
}

// forUnits runs f with every unit for bf16 of this machine.
func forUnits(t *testing.T, f func(t *testing.T)) {
	if len(simd.Units()) == 0 {
		t.Skip("no unit for bf16")
	}
	defer simd.ForceUnit(simd.Unit())
	for _, unit := range simd.Units() {
		simd.ForceUnit(unit)
		t.Run(unit, f)
	}
}

// TestBF16Units: the processor's units keep the tolerance of tensor cores, and the bits depend on
// neither the threads nor the batch.
func TestBF16Units(t *testing.T) {
	forUnits(t, func(t *testing.T) {
		dev, one := optest.CPU(t, 3), optest.CPU(t, 1)
		for _, x := range unitProblems() {
			got := onHost(dev, x)
			withinBF16(t, dev, x, got)
			same(t, fmt.Sprintf("%+v, one thread", x.p), onHost(one, x), got)
		}
		segmentAlone(t, newBF16(61, attention.Params{Segments: []int32{0, 37, 330, 350}, Heads: 2, KVHeads: 1, HeadDim: 64}, 1), func(x problem) result { return onHost(dev, x) })
		oneKeyOf(t, func(x problem) result { return onHost(dev, x) })
	})
}

func TestBF16OneKey(t *testing.T) { oneKey(t, optest.Device(t, 80)) }

// oneKey: a token that only attends to itself gets its own value, and its score has no
// gradient at all.
func oneKey(t *testing.T, dev driver.Launcher) {
	t.Helper()
	oneKeyOf(t, func(x problem) result { return runBF16(t, dev, x) })
}

func oneKeyOf(t *testing.T, run func(x problem) result) {
	t.Helper()
	x := newBF16(60, attention.Params{Segments: []int32{0, 1, 70}, Heads: 1, KVHeads: 1, HeadDim: 64, Window: 1}, 1)
	got := run(x)
	optest.Near(t, "o", got.o, x.v, 0x1p-20)
	optest.Near(t, "dv", got.dv, x.do, 0x1p-8) // p is rounded to bf16
	optest.Same(t, "dq", got.dq, make([]float32, len(x.q)))
	optest.Same(t, "dk", got.dk, make([]float32, len(x.k)))
}

// TestBF16SegmentAlone: a segment's bits are the same in any batch.
func TestBF16SegmentAlone(t *testing.T) {
	alone(t, optest.Device(t, 80), newBF16(61, attention.Params{Segments: []int32{0, 37, 130, 150}, Heads: 2, KVHeads: 1, HeadDim: 64}, 1))
}

// alone checks the second of three segments in a batch of its own.
func alone(t *testing.T, dev driver.Launcher, x problem) {
	t.Helper()
	segmentAlone(t, x, func(x problem) result { return runBF16(t, dev, x) })
}

func segmentAlone(t *testing.T, x problem, run func(x problem) result) {
	t.Helper()
	all := run(x)
	lo, hi, n := int(x.p.Segments[1]), int(x.p.Segments[2]), int(x.p.Segments[3])
	wq, wk := x.p.Heads*x.p.HeadDim, x.p.KVHeads*x.p.HeadDim
	one := x
	one.p.Segments = []int32{0, int32(hi - lo)}
	one.q, one.do, one.k, one.v = x.q[lo*wq:hi*wq], x.do[lo*wq:hi*wq], x.k[lo*wk:hi*wk], x.v[lo*wk:hi*wk]
	var lse []float32
	for h := range x.p.Heads {
		lse = append(lse, all.lse[h*n+lo:h*n+hi]...)
	}
	same(t, "alone", run(one), result{all.o[lo*wq : hi*wq], lse, all.dq[lo*wq : hi*wq], all.dk[lo*wk : hi*wk], all.dv[lo*wk : hi*wk], nil})
}

// TestBF16Traffic: tiles are read once per block that uses them, in full sectors, without
// bank conflicts.
func TestBF16Traffic(t *testing.T) {
	dev := optest.Sim(t)
	const tokens, heads, depth = 256, 2, 64
	runBF16(t, dev, newBF16(62, attention.Params{Segments: []int32{0, tokens}, Heads: heads, KVHeads: heads, HeadDim: depth}, 1))
	pairs := 1 + 2 + 3 + 4 // of a block of 64 rows and a tile of 64 it uses
	own := 4 * heads * 12 * 128
	half, full := 2*heads*depth*tokens, 4*heads*depth*tokens // bytes of a tensor
	tile := 2 * heads * depth * 64
	for name, want := range map[string]int{
		"attention_bf16_forward_64":     half + (2+4)*2*tile + full + 4*heads*tokens + own/2,   // blocks of 128 rows
		"attention_bf16_backward_q_64":  2*half + pairs*2*tile + full + 8*heads*tokens*4 + own, // four lanes read a row's lse and delta
		"attention_bf16_backward_kv_64": 2*half + pairs*(2*tile+2*4*heads*64) + 2*full + own,
	} {
		c := dev.Total(name)
		if got := c.GlobalBytes(); got != uint64(want) {
			t.Errorf("%s: %d bytes moved, want %d", name, got, want)
		}
		if c.Conflicts() != 0 {
			t.Errorf("%s: %d bank conflicts", name, c.Conflicts())
		}
		if c.Global.Units > c.Global.Ideal+c.Global.Ideal/50 {
			t.Errorf("%s: %d sectors, ideal %d", name, c.Global.Units, c.Global.Ideal)
		}
	}
}

func TestBF16Panics(t *testing.T) {
	dev := optest.CPU(t, 1)
	call := func(p attention.Params) {
		n := int(p.Segments[len(p.Segments)-1]) * p.Heads * p.HeadDim
		h := driver.FromHost(make([]driver.BF16, n))
		attention.ForwardBF16(dev, p, attention.Inputs[driver.BF16]{Q: h, K: h, V: h}, optest.Dev(make([]float32, n)), optest.Dev(make([]float32, 3)))
	}
	p := attention.Params{Segments: []int32{0, 3}, Heads: 1, KVHeads: 1, HeadDim: 12, Scale: 1}
	optest.Panics(t, "attention: HeadDim is not a multiple of 8, or a tensor is not 16-byte aligned", func() { call(p) })
	p.HeadDim, p.Scale = 8, 0
	optest.Panics(t, "attention: Scale is not positive", func() { call(p) })
}

// TestBF16AnyOrder: for any order of the warps there is no fault, and the bits are the same.
func TestBF16AnyOrder(t *testing.T) {
	x := newBF16(63, attention.Params{Segments: []int32{0, 3, 140}, Heads: 2, KVHeads: 1, HeadDim: 64, Window: 130}, 1)
	g := newGeneration(91, attention.Cached{
		Params:   attention.Params{Heads: 3, KVHeads: 1, HeadDim: 72},
		Capacity: 150, Slot: []int32{0}, Length: []int32{150},
	}, 1)
	var want result
	var step []float32
	for seed := range uint64(3) {
		dev := anyOrder(t, 80, 1+seed)
		got, o := runBF16(t, dev, x), g.run(t, dev, 0)
		if seed == 0 {
			want, step = got, o
		}
		same(t, fmt.Sprintf("seed %d", 1+seed), got, want)
		optest.Same(t, fmt.Sprintf("seed %d cached", 1+seed), o, step)
	}
}

// anyOrder is an interpreter that runs warps in random order and preempts them anywhere.
func anyOrder(t *testing.T, capability int, seed uint64) *sim.Device {
	dev := sim.New(sim.Options{Unwritten: true, Seed: seed, Capability: capability})
	t.Cleanup(func() { dev.Close() })
	return dev
}
