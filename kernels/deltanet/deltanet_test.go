package deltanet_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/deltanet"
	"dataflex.dev/dataflex/kernels/optest"
)

// batch is random inputs of a shape.
func batch(r *rand.Rand, p deltanet.Params) optest.DeltaNet[float32] {
	rows := int(p.Segments[len(p.Segments)-1])
	d := optest.DeltaNet[float32]{
		Segments: p.Segments, KeyHeads: p.KeyHeads, ValueHeads: p.ValueHeads, KeyDim: p.KeyDim, ValueDim: p.ValueDim,
		Q: optest.Normal(r, rows*p.KeyHeads*p.KeyDim, 1), K: optest.Normal(r, rows*p.KeyHeads*p.KeyDim, 1),
		V: optest.Normal(r, rows*p.ValueHeads*p.ValueDim, 1), A: optest.Normal(r, rows*p.ValueHeads, 1), B: optest.Normal(r, rows*p.ValueHeads, 1),
		ALog: optest.Normal(r, p.ValueHeads, 1), DtBias: optest.Normal(r, p.ValueHeads, 1),
	}
	for i := range d.DtBias { // decays from almost nothing to almost everything
		d.DtBias[i] -= float32(3 * r.Float64())
	}
	return d
}

func exact(d optest.DeltaNet[float32]) *optest.DeltaNet[float64] {
	e := optest.DeltaNet[float64]{Segments: d.Segments, KeyHeads: d.KeyHeads, ValueHeads: d.ValueHeads, KeyDim: d.KeyDim, ValueDim: d.ValueDim}
	for _, x := range []struct {
		to   *[]float64
		from []float32
	}{{&e.Q, d.Q}, {&e.K, d.K}, {&e.V, d.V}, {&e.A, d.A}, {&e.B, d.B}, {&e.ALog, d.ALog}, {&e.DtBias, d.DtBias}} {
		*x.to = optest.To[float64](x.from)
	}
	return &e
}

// inputs copies a batch to a device.
func inputs(t testing.TB, dev driver.Device, d optest.DeltaNet[float32]) deltanet.Inputs {
	in := func(x []float32) driver.F32 { return optest.In(t, dev, x, 0) }
	return deltanet.Inputs{Q: in(d.Q), K: in(d.K), V: in(d.V), A: in(d.A), B: in(d.B), ALog: in(d.ALog), DtBias: in(d.DtBias)}
}

var names = []string{"q", "k", "v", "a", "b", "ALog", "DtBias"}

// gradients runs Backward, with sums that are added to start.
func gradients(t testing.TB, dev driver.Device, p deltanet.Params, d optest.DeltaNet[float32], dout []float32, start float32) [][]float32 {
	at := []driver.F32{}
	for i, x := range [][]float32{d.Q, d.K, d.V, d.A, d.B, d.ALog, d.DtBias} {
		g := make([]float32, len(x))
		for j := range g {
			g[j] = float32(i) + 7 // is overwritten
			if i > 4 {
				g[j] = start
			}
		}
		at = append(at, optest.In(t, dev, g, 0))
	}
	p.Backward(dev, inputs(t, dev, d), optest.In(t, dev, dout, 0), deltanet.Gradients{Q: at[0], K: at[1], V: at[2], A: at[3], B: at[4], ALog: at[5], DtBias: at[6]})
	var out [][]float32
	for _, g := range at {
		out = append(out, optest.Out(t, dev, g))
	}
	return out
}

var shapes = []deltanet.Params{
	{Segments: []int32{0, 1}, KeyHeads: 1, ValueHeads: 1, KeyDim: 1, ValueDim: 1},
	{Segments: []int32{0, 1, 6, 70}, KeyHeads: 2, ValueHeads: 4, KeyDim: 12, ValueDim: 16},
	{Segments: []int32{0, 64, 65, 200}, KeyHeads: 3, ValueHeads: 3, KeyDim: 16, ValueDim: 8},
	{Segments: []int32{0, 150}, KeyHeads: 1, ValueHeads: 3, KeyDim: 5, ValueDim: 7},
}

// within is optest.Within, but allows √64 half-units of the largest value for the chunked
// form: a token of a chunk sums over up to 64 others where the plain rule has one state.
func within(t *testing.T, what string, got, plain []float32, ref []float64) {
	t.Helper()
	largest, rms := optest.Errors(got, ref)
	plainLargest, plainRMS := optest.Errors(plain, ref)
	var top float64
	for _, v := range ref {
		top = max(top, math.Abs(v))
	}
	if more := 8 * top * 0x1p-24; !(largest <= 2*plainLargest+more) || !(rms <= 2*plainRMS+more) {
		t.Errorf("%s: error max %.3g rms %.3g, plain float32 has %.3g and %.3g (largest value %.3g)", what, largest, rms, plainLargest, plainRMS, top)
	}
}

// TestCPU compares output and gradients with the rule token by token.
func TestCPU(t *testing.T) {
	for i, p := range shapes {
		r := optest.Rand(uint64(i))
		d := batch(r, p)
		e := exact(d)
		dout := optest.Normal(r, len(d.V), 1)
		plain, ref := d.Backward(dout), e.Backward(optest.To[float64](dout))
		var first [][]float32
		for _, threads := range optest.Threads {
			dev := optest.CPU(t, threads)
			out := make([]float32, len(d.V))
			p.Forward(dev, inputs(t, dev, d), optest.Dev(out))
			within(t, "out", out, d.Forward(), e.Forward())
			all := append(gradients(t, dev, p, d, dout, 0), out)
			for j, g := range all[:7] {
				within(t, "d"+names[j], g, plain[j], ref[j])
			}
			if first == nil {
				first = all
			}
			for j := range all {
				optest.Same(t, "with other threads", all[j], first[j])
			}
		}
	}
}

// TestReference: the reference's gradients are those of its output.
func TestReference(t *testing.T) {
	p := shapes[1]
	r := optest.Rand(3)
	e := exact(batch(r, deltanet.Params{Segments: []int32{0, 1, 6}, KeyHeads: 2, ValueHeads: 4, KeyDim: 3, ValueDim: p.ValueDim}))
	dout := optest.To[float64](optest.Normal(r, len(e.V), 1))
	grad := e.Backward(dout)
	for i, x := range [][]float64{e.Q, e.K, e.V, e.A, e.B, e.ALog, e.DtBias} {
		optest.FiniteDifference(t, names[i], func() float64 { return optest.Inner(dout, e.Forward()) }, x, grad[i])
	}
}

// TestAlone: a row has the same bits in a batch of its own as among others, and so have its
// gradients except for the sums over all rows.
func TestAlone(t *testing.T) { alone(t, optest.CPU(t, 2)) }

func alone(t *testing.T, dev driver.Device) {
	r := optest.Rand(9)
	p := deltanet.Params{Segments: []int32{0, 5, 75, 78}, KeyHeads: 2, ValueHeads: 4, KeyDim: 12, ValueDim: 16}
	d := batch(r, p)
	dout := optest.Normal(r, len(d.V), 1)
	forward := func(p deltanet.Params, d optest.DeltaNet[float32]) []float32 {
		out := optest.In(t, dev, make([]float32, len(d.V)), 0)
		p.Forward(dev, inputs(t, dev, d), out)
		return optest.Out(t, dev, out)
	}
	all := gradients(t, dev, p, d, dout, 0)
	one, own := p, d
	one.Segments, own.Segments = []int32{0, 70}, []int32{0, 70}
	cut := func(x []float32) []float32 { n := len(x) / 78; return x[5*n : 75*n] }
	own.Q, own.K, own.V, own.A, own.B = cut(d.Q), cut(d.K), cut(d.V), cut(d.A), cut(d.B)
	optest.Same(t, "out", forward(one, own), cut(forward(p, d)))
	for i, g := range gradients(t, dev, one, own, cut(dout), 0)[:5] {
		optest.Same(t, names[i], g, cut(all[i]))
	}
}

// TestSums: the gradients of the parameters are added to, and may be left out.
func TestSums(t *testing.T) { sums(t, optest.CPU(t, 1)) }

func sums(t *testing.T, dev driver.Device) {
	r, p := optest.Rand(4), shapes[1]
	d := batch(r, p)
	dout := optest.Normal(r, len(d.V), 1)
	none, some := gradients(t, dev, p, d, dout, 0), gradients(t, dev, p, d, dout, 1)
	for i := 5; i < 7; i++ {
		for j := range none[i] {
			// Each of three segments is added with a rounding of at most half a unit of 1.
			if d := math.Abs(float64(some[i][j]) - float64(none[i][j]) - 1); d > 6*0x1p-24 {
				t.Errorf("%s: %v, want 1 more than %v", names[i], some[i][j], none[i][j])
			}
		}
	}
	g := func(n int) driver.F32 { return optest.In(t, dev, make([]float32, n), 0) }
	p.Backward(dev, inputs(t, dev, d), optest.In(t, dev, dout, 0), deltanet.Gradients{Q: g(len(d.Q)), K: g(len(d.K)), V: g(len(d.V)), A: g(len(d.A)), B: g(len(d.B))})
}

// TestSteps compares steps token by token, starting within a sequence, with Forward.
func TestSteps(t *testing.T) { steps(t, optest.CPU(t, 2)) }

func steps(t *testing.T, dev driver.Device) {
	const slots, n = 3, 40
	r := optest.Rand(11)
	p := deltanet.Params{Segments: []int32{0, n, 2 * n}, KeyHeads: 2, ValueHeads: 4, KeyDim: 12, ValueDim: 16}
	d := batch(r, p)
	want, plain := exact(d).Forward(), d.Forward()
	states := optest.In(t, dev, optest.Normal(r, slots*p.State(), 1), 0)
	order := []int32{2, 0}

	part := func(lo, hi int) optest.DeltaNet[float32] { // tokens of both sequences
		x := d
		for _, s := range []*[]float32{&x.Q, &x.K, &x.V, &x.A, &x.B} {
			w := len(*s) / (2 * n)
			*s = append(append([]float32{}, (*s)[lo*w:hi*w]...), (*s)[(n+lo)*w:(n+hi)*w]...)
		}
		return x
	}
	compare := func(lo, hi int, got []float32) {
		w := len(want) / (2 * n)
		for s := range 2 {
			half := len(got) / 2
			optest.Within(t, "out", got[s*half:(s+1)*half], plain[(s*n+lo)*w:(s*n+hi)*w], want[(s*n+lo)*w:(s*n+hi)*w])
		}
	}
	const prompt = 30
	first := part(0, prompt)
	q := p
	q.Segments = []int32{0, prompt, 2 * prompt}
	out := optest.In(t, dev, make([]float32, len(first.V)), 0)
	q.Prefill(dev, inputs(t, dev, first), out, order, states)
	compare(0, prompt, optest.Out(t, dev, out))
	for i := prompt; i < n; i++ {
		x := part(i, i+1)
		out := optest.In(t, dev, make([]float32, len(x.V)), 0)
		q.Step(dev, inputs(t, dev, x), out, order, states)
		compare(i, i+1, optest.Out(t, dev, out))
	}
}
