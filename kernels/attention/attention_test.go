package attention_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
)

// problem is one random call.
type problem struct {
	p           attention.Params
	q, k, v, do []float32
	sinks       []float32
}

func newProblem(seed uint64, p attention.Params, std float64) problem {
	r := optest.Rand(seed)
	t := int(p.Segments[len(p.Segments)-1])
	if p.Scale == 0 {
		p.Scale = 0.3
	}
	n, m := t*p.Heads*p.HeadDim, t*p.KVHeads*p.HeadDim
	values := cmp.Or(p.ValueDim, p.HeadDim)
	return problem{
		p: p,
		q: optest.Normal(r, n, std), k: optest.Normal(r, m, std), v: optest.Normal(r, t*p.KVHeads*values, 1),
		do: optest.Normal(r, t*p.Heads*values, 1),
	}
}

// result is everything the kernels write.
type result struct{ o, lse, dq, dk, dv, dsinks []float32 }

func run(dev driver.Device, x problem) result {
	t := int(x.p.Segments[len(x.p.Segments)-1])
	nan := func(n int) []float32 { return garbage(n) }
	y := result{nan(len(x.do)), nan(x.p.Heads * t), nan(len(x.q)), nan(len(x.k)), nan(len(x.v)), make([]float32, len(x.sinks))}
	f := optest.Dev
	if x.sinks != nil {
		x.p.Sinks = f(x.sinks)
	}
	attention.Forward(dev, x.p, attention.Inputs[float32]{Q: f(x.q), K: f(x.k), V: f(x.v)}, f(y.o), f(y.lse))
	attention.Backward(dev, x.p, attention.Inputs[float32]{Q: f(x.q), K: f(x.k), V: f(x.v)}, f(y.o), f(y.lse), f(x.do), attention.Gradients{Q: f(y.dq), K: f(y.dk), V: f(y.dv), Sinks: f(y.dsinks)})
	return y
}

// garbage is the content of outputs before they are overwritten.
func garbage(n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = 1e30
	}
	return s
}

func plain[F optest.Float](x problem) *optest.Attention[F] {
	return &optest.Attention[F]{
		Segments: x.p.Segments, Heads: x.p.Heads, KVHeads: x.p.KVHeads, HeadDim: x.p.HeadDim,
		Scale: F(x.p.Scale), Window: x.p.Window, SoftCap: F(x.p.SoftCap), ValueDim: x.p.ValueDim,
		Q: optest.To[F](x.q), K: optest.To[F](x.k), V: optest.To[F](x.v), Sinks: sinksOf[F](x),
	}
}

func sinksOf[F optest.Float](x problem) []F {
	if x.sinks == nil {
		return nil
	}
	return optest.To[F](x.sinks)
}

// withSinks are problems that only the CPU computes: sinks, and values of another width.
func withSinks() []problem {
	r := optest.Rand(70)
	ps := []problem{
		newProblem(71, attention.Params{Segments: []int32{0, 70}, Heads: 2, KVHeads: 2, HeadDim: 20, ValueDim: 12}, 1),
		newProblem(72, attention.Params{Segments: []int32{0, 1, 40}, Heads: 4, KVHeads: 2, HeadDim: 8, Window: 7}, 1),
		newProblem(73, attention.Params{Segments: []int32{0, 9}, Heads: 3, KVHeads: 1, HeadDim: 5, Window: 1}, 1),
		newProblem(74, attention.Params{Segments: []int32{0, 300}, Heads: 2, KVHeads: 1, HeadDim: 192, ValueDim: 128}, 0.3),
	}
	for i := range uint64(8) {
		kv := 1 + r.IntN(2)
		p := attention.Params{Segments: optest.Segments(r, 1+r.IntN(4), 60), KVHeads: kv, Heads: kv * (1 + r.IntN(3)), HeadDim: 1 + r.IntN(30), ValueDim: r.IntN(50)}
		if i%3 == 1 {
			p.Window = 1 + r.IntN(30)
		}
		if i%4 == 2 {
			p.SoftCap = 3
		}
		ps = append(ps, newProblem(80+i, p, 1))
	}
	for i := range ps[1:] {
		ps[i+1].sinks = optest.Normal(r, ps[i+1].p.Heads, 2)
	}
	return ps
}

func problems() []problem {
	r := optest.Rand(1)
	ps := []problem{
		newProblem(2, attention.Params{Segments: []int32{0, 1}, Heads: 1, KVHeads: 1, HeadDim: 1}, 1),
		newProblem(3, attention.Params{Segments: []int32{0, 64, 64, 193}, Heads: 2, KVHeads: 2, HeadDim: 16}, 1),
		newProblem(4, attention.Params{Segments: []int32{0, 300}, Heads: 4, KVHeads: 1, HeadDim: 12, Window: 70}, 1),
		newProblem(5, attention.Params{Segments: []int32{0, 150, 151}, Heads: 2, KVHeads: 1, HeadDim: 8, SoftCap: 2}, 2),
		// Scores of several hundred: nothing may overflow.
		newProblem(6, attention.Params{Segments: []int32{0, 100}, Heads: 1, KVHeads: 1, HeadDim: 64}, 6),
	}
	for i := range uint64(12) {
		kv := 1 + r.IntN(2)
		p := attention.Params{
			Segments: optest.Segments(r, 1+r.IntN(5), 90), KVHeads: kv, Heads: kv * (1 + r.IntN(3)),
			HeadDim: 1 + r.IntN(40),
		}
		if i%3 == 1 {
			p.Window = 1 + r.IntN(80)
		}
		if i%4 == 2 {
			p.SoftCap = 3
		}
		ps = append(ps, newProblem(10+i, p, 1))
	}
	return ps
}

func TestAgainstFloat64(t *testing.T) {
	dev := optest.CPU(t, 2)
	for _, level := range simd.Levels() {
		simd.Force(level)
		for _, x := range append(problems(), withSinks()...) {
			within(t, fmt.Sprintf("%s %+v", level, x.p), x, run(dev, x))
		}
	}
}

// within applies the tolerance rule to all results of x.
func within(t *testing.T, name string, x problem, got result) {
	t.Helper()
	small, ref := plain[float32](x), plain[float64](x)
	so, sl := small.Forward()
	ro, rl := ref.Forward()
	optest.Within(t, name+" o", got.o, so, ro)
	optest.Within(t, name+" lse", got.lse, sl, rl)
	sq, sk, sv := small.Backward(x.do)
	rq, rk, rv := ref.Backward(optest.To[float64](x.do))
	optest.Within(t, name+" dq", got.dq, sq, rq)
	optest.Within(t, name+" dk", got.dk, sk, rk)
	optest.Within(t, name+" dv", got.dv, sv, rv)
	if x.sinks != nil {
		optest.Within(t, name+" dsinks", got.dsinks, small.SinksGradient(x.do), ref.SinksGradient(optest.To[float64](x.do)))
	}
}

func TestReferenceGradient(t *testing.T) {
	for _, p := range []attention.Params{
		{Segments: []int32{0, 1, 6}, Heads: 2, KVHeads: 1, HeadDim: 3},
		{Segments: []int32{0, 5, 9}, Heads: 2, KVHeads: 2, HeadDim: 2, Window: 3, SoftCap: 1.5},
		{Segments: []int32{0, 1, 6}, Heads: 2, KVHeads: 1, HeadDim: 3, ValueDim: 5, Window: 3},
	} {
		x := newProblem(7, p, 1)
		x.sinks = []float32{0.5, -1}
		ref, do := plain[float64](x), optest.To[float64](x.do)
		dq, dk, dv := ref.Backward(do)
		loss := func() float64 { o, _ := ref.Forward(); return optest.Inner(o, do) }
		optest.FiniteDifference(t, "dq", loss, ref.Q, dq)
		optest.FiniteDifference(t, "dk", loss, ref.K, dk)
		optest.FiniteDifference(t, "dv", loss, ref.V, dv)
		optest.FiniteDifference(t, "dsinks", loss, ref.Sinks, ref.SinksGradient(do))
	}
}

func same(t *testing.T, what string, got, want result) {
	t.Helper()
	optest.Same(t, what+" o", got.o, want.o)
	optest.Same(t, what+" lse", got.lse, want.lse)
	optest.Same(t, what+" dq", got.dq, want.dq)
	optest.Same(t, what+" dk", got.dk, want.dk)
	optest.Same(t, what+" dv", got.dv, want.dv)
	optest.Same(t, what+" dsinks", got.dsinks, want.dsinks)
}

func TestThreads(t *testing.T) {
	for _, x := range append(problems(), withSinks()...) {
		want := run(optest.CPU(t, optest.Threads[0]), x)
		for _, n := range optest.Threads[1:] {
			same(t, fmt.Sprintf("%d threads %+v", n, x.p), run(optest.CPU(t, n), x), want)
		}
	}
}

// TestSegmentAlone: a segment's bits do not depend on the others in its batch.
func TestSegmentAlone(t *testing.T) {
	dev := optest.CPU(t, 2)
	for _, x := range append(problems(), withSinks()...) {
		all := run(dev, x)
		total := int(x.p.Segments[len(x.p.Segments)-1])
		wq, wk, wv, wo := x.p.Heads*x.p.HeadDim, x.p.KVHeads*x.p.HeadDim, len(x.v)/total, len(x.do)/total
		for s, lo := range x.p.Segments[:len(x.p.Segments)-1] {
			lo, hi := int(lo), int(x.p.Segments[s+1])
			one := problem{x.p, x.q[lo*wq : hi*wq], x.k[lo*wk : hi*wk], x.v[lo*wv : hi*wv], x.do[lo*wo : hi*wo], x.sinks}
			one.p.Segments = []int32{0, int32(hi - lo)}
			part := result{all.o[lo*wo : hi*wo], nil, all.dq[lo*wq : hi*wq], all.dk[lo*wk : hi*wk], all.dv[lo*wv : hi*wv], nil}
			for h := range x.p.Heads {
				part.lse = append(part.lse, all.lse[h*total+lo:h*total+hi]...)
			}
			got := run(dev, one)
			if len(part.lse) == 0 {
				part.lse = got.lse
			}
			part.dsinks = got.dsinks // a sum over all segments
			same(t, fmt.Sprintf("segment %d of %+v", s, x.p), got, part)
		}
	}
}

func TestAllocations(t *testing.T) {
	dev := optest.CPU(t, 1)
	x := newProblem(9, attention.Params{Segments: []int32{0, 130, 200}, Heads: 2, KVHeads: 1, HeadDim: 16}, 1)
	f := optest.Dev
	o, lse := f(garbage(len(x.q))), f(garbage(400))
	call := func() {
		attention.Forward(dev, x.p, attention.Inputs[float32]{Q: f(x.q), K: f(x.k), V: f(x.v)}, o, lse)
	}
	call()
	if n := testing.AllocsPerRun(5, call); n > 4 {
		t.Errorf("%v allocations a call after warm-up: only closures are expected", n)
	}
}

func TestPanics(t *testing.T) {
	dev := optest.CPU(t, 1)
	x := newProblem(9, attention.Params{Segments: []int32{0, 3}, Heads: 2, KVHeads: 1, HeadDim: 2}, 1)
	bad := x
	bad.p.Segments = []int32{0, 3, 2}
	optest.Panics(t, "attention: Segments decreases", func() { run(dev, bad) })
	bad = x
	bad.p.KVHeads = 3
	optest.Panics(t, "attention: HeadDim, KVHeads or Heads < 1, or Heads not a multiple of KVHeads", func() { run(dev, bad) })
	bad = x
	bad.k = x.k[:2]
	optest.Panics(t, "attention: k is not [T, KVHeads*HeadDim], or v not [T, KVHeads*ValueDim]", func() { run(dev, bad) })
}

// TestChunks: a token attends to those before it in its own chunk of its own segment.
func TestChunks(t *testing.T) {
	for _, c := range []struct {
		segments []int32
		size     int
		want     []int32
	}{
		{[]int32{0, 7}, 3, []int32{0, 3, 6, 7}},
		{[]int32{0, 2, 8, 9}, 3, []int32{0, 2, 5, 8, 9}},
		{[]int32{0, 4}, 4, []int32{0, 4}},
		{[]int32{0}, 4, []int32{0}},
	} {
		if got := attention.Chunks(c.segments, c.size); !slices.Equal(got, c.want) {
			t.Errorf("%v in chunks of %d: %v, want %v", c.segments, c.size, got, c.want)
		}
	}
}

func TestGolden(t *testing.T) {
	var g struct {
		Segments       []int32
		Heads          int
		KVHeads        int `json:"kv_heads"`
		HeadDim        int `json:"head_dim"`
		Q, K, V, Do, O []float32
		DQ, DK, DV     []float32
	}
	optest.Golden(t, &g)
	x := problem{
		p: attention.Params{
			Segments: g.Segments, Heads: g.Heads, KVHeads: g.KVHeads, HeadDim: g.HeadDim,
			Scale: float32(1 / math.Sqrt(float64(g.HeadDim))),
		},
		q: g.Q, k: g.K, v: g.V, do: g.Do,
	}
	y := run(optest.CPU(t, 2), x)
	optest.Near(t, "o", y.o, g.O, 1e-6)
	optest.Near(t, "dq", y.dq, g.DQ, 1e-6)
	optest.Near(t, "dk", y.dk, g.DK, 1e-6)
	optest.Near(t, "dv", y.dv, g.DV, 1e-6)
}
