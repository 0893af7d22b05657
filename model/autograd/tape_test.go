package autograd

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/kernels/xent"
	"dataflex.dev/dataflex/model/tensor"
)

func param(t *testing.T, dev driver.Device, r *rand.Rand, shape ...int) *tensor.Param {
	t.Helper()
	p, err := tensor.New(dev, "p", shape...)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := 0, p.Data.Host(); i < len(w); i++ {
		w[i] = r.Float32()*2 - 1
	}
	if err := p.Train(dev); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSharedGradients checks a graph in which gradients are shared, written while
// shared, and added up: x feeds two rotations, a norm and a residual, and a value
// that a residual passes its gradient to is rotated.
func TestSharedGradients(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	r := rand.New(rand.NewPCG(1, 2))
	const vocab, d = 7, 4
	table, w, scale, head := param(t, dev, r, vocab, d), param(t, dev, r, d, d), param(t, dev, r, d), param(t, dev, r, vocab, d)
	angles, err := rope.NewTable(d, 100, rope.Scaling{}, 16)
	if err != nil {
		t.Fatal(err)
	}
	ids, targets, pos := []int32{1, 3, 3, 6}, []int32{3, -1, 6, 2}, []int32{0, 1, 2, 3}
	linear := Linear{In: d, Out: d, Weight: w}
	tape := New(dev)
	defer tape.Close()
	loss := func(record bool) float64 {
		tape.Begin(Mode{Record: record})
		x := tape.Embed(table, ids, Embedding{})
		h := tape.Norm(x, scale, NormOptions{Eps: 1e-5})
		q := tape.Rope(tape.Linear(x, &linear), pos, angles, 1, d)
		k := tape.Rope(tape.Linear(h, &linear), pos, angles, 1, d)
		a := tape.Attention(attention.Params{Segments: []int32{0, 4}, Heads: 1, KVHeads: 1, HeadDim: d, Scale: 0.5}, q, k, h)
		y := tape.Rope(tape.Linear(a, &linear), pos, angles, 1, d)
		z := tape.Residual(x, y, 0)
		s := tape.SwiGLU(swiglu.SiLU, z, h)
		out := tape.Scratch(len(ids))
		tape.CrossEntropy(xent.Params{Rows: len(ids), Hidden: d, Vocab: vocab}, tape.Residual(z, s, 0), &Head{Linear: Linear{In: d, Out: vocab, Weight: head}}, targets, driver.F32{}, out)
		if err := tape.Err(); err != nil {
			t.Fatal(err)
		}
		var sum float64
		for _, l := range out.Host() {
			sum += float64(l)
		}
		if record {
			if err := tape.Backward(); err != nil {
				t.Fatal(err)
			}
		}
		return sum
	}
	loss(true)
	for n, p := range []*tensor.Param{table, w, scale, head} {
		for i, v := 0, p.Data.Host(); i < len(v); i++ {
			old := v[i]
			slope := func(h float32) float64 {
				v[i] = old + h
				up, above := loss(false), v[i]
				v[i] = old - h
				down, below := loss(false), v[i]
				v[i] = old
				return (up - down) / (float64(above) - float64(below))
			}
			want := (4*slope(1./64) - slope(1./32)) / 3
			if got := float64(p.Grad.Host()[i]); math.Abs(got-want) > 2e-3*(1+math.Abs(want)) {
				t.Errorf("parameter %d, entry %d: gradient %g, slope %g", n, i, got, want)
			}
		}
	}
}

// TestErrorsStick checks that a sink's error ends the backward pass and that a
// later Begin starts afresh.
func TestErrorsStick(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	r := rand.New(rand.NewPCG(1, 2))
	table, w, head := param(t, dev, r, 5, 4), param(t, dev, r, 4, 4), param(t, dev, r, 5, 4)
	for _, p := range []*tensor.Param{table, w, head} {
		p.Freeze(dev)
	}
	l := Linear{In: 4, Out: 4, Weight: w, LoRA: &LoRA{A: param(t, dev, r, 2, 4), B: param(t, dev, r, 4, 2), Rank: 2, Scale: 1}}
	tape := New(dev)
	defer tape.Close()
	calls, refuse := 0, errors.New("no room")
	run := func(sink FactorSink) error {
		tape.Begin(Mode{Record: true, Sink: sink, Segments: []int32{0, 2}})
		h := tape.Linear(tape.Linear(tape.Embed(table, []int32{1, 2}, Embedding{}), &l), &l)
		tape.CrossEntropy(xent.Params{Rows: 2, Hidden: 4, Vocab: 5}, h, &Head{Linear: Linear{In: 4, Out: 5, Weight: head}}, []int32{2, 3}, driver.F32{}, tape.Scratch(2))
		return tape.Backward()
	}
	if err := run(func(int, gradproj.Factors) error { calls++; return refuse }); err != refuse || calls != 1 || tape.Err() != refuse {
		t.Errorf("%d calls, error %v", calls, err)
	}
	if tape.Norm(nil, w, NormOptions{}) != nil || tape.Linear(nil, &l) != nil || tape.Embed(table, []int32{0}, Embedding{}) != nil {
		t.Error("an op did something after an error")
	}
	if err := run(func(int, gradproj.Factors) error { calls++; return nil }); err != nil || calls != 3 {
		t.Errorf("%d calls, error %v", calls, err)
	}
}
