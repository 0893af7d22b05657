package main

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
)

// attentionCases are sequences of each length packed into a micro-batch, and, for the
// GPU, the shapes by which papers compare kernels: 16384 tokens in sequences of 2k to
// 16k, 16 heads of 128, every head with keys of its own.
func attentionCases(m model) []Case {
	var out []Case
	for _, n := range m.lengths {
		out = append(out, attentionShape(m, max(m.tokens, n), n, m.heads, m.kv, m.headDim)...)
	}
	if m.capabilityBenchmarks {
		for _, n := range []int{2048, 4096, 8192, 16384} {
			out = append(out, attentionShape(m, 16384, n, 16, 16, 128)...)
		}
	}
	return out
}

// attentionShape is one shape forward and backward, in both types. Operations are
// counted over the pairs a token really sees: 4·D a pair and head forward, 10·D backward.
func attentionShape(m model, tokens, length, heads, kv, dim int) []Case {
	p := attention.Params{Heads: heads, KVHeads: kv, HeadDim: dim, Scale: float32(1 / math.Sqrt(float64(dim)))}
	for at := 0; at <= tokens; at += length {
		p.Segments = append(p.Segments, int32(at))
	}
	tokens = int(p.Segments[len(p.Segments)-1])
	pairs := float64(heads) * float64(tokens) * float64(length+1) / 2
	q, k := tokens*heads*dim, tokens*kv*dim
	d, label := dims("tokens length heads kv dim", tokens, length, heads, kv, dim)
	var out []Case
	for _, bf16 := range []bool{true, false} {
		c := Case{Type: "f32", Model: m.name, Label: label, Dims: d}
		size, unit := 4.0, multiply
		if bf16 {
			c.Type, size, unit = "bf16", 2, tensor
		}
		rows := 4 * float64(tokens*heads)
		forward, backward := c, c
		forward.Op, backward.Op = "attention_forward", "attention_backward"
		forward.Floor = Floor{4 * float64(dim) * pairs, unit, size*float64(q+2*k) + 4*float64(q) + rows}
		backward.Floor = Floor{10 * float64(dim) * pairs, unit, size*float64(2*q+2*k) + 4*float64(2*q+2*k) + rows}
		s := sequences{Params: p, length: length, tokens: tokens}
		forward.setup, backward.setup = s.forwardF32, s.backwardF32
		if bf16 {
			forward.setup, backward.setup = s.forwardBF16, s.backwardBF16
		}
		out = append(out, forward, backward)
	}
	return out
}

// sequences are a packed batch of one length.
type sequences struct {
	attention.Params
	length, tokens int
}

// heads is a batch with its operands.
type heads[T driver.Element] struct {
	sequences
	q, k, v operand[T]
	share   float64 // by which p and ds are rounded before they are multiplied with
	o, lse  driver.F32
}

func newHeads[T driver.Element](r *room, s sequences, draw func(int, float32) operand[T], share float64) *heads[T] {
	q, k := s.tokens*s.Heads*s.HeadDim, s.tokens*s.KVHeads*s.HeadDim
	return &heads[T]{s, draw(q, 1), draw(k, 1), draw(k, 1), share, r.zeros(q), r.zeros(s.tokens * s.Heads)}
}

func (h *heads[T]) inputs() attention.Inputs[T] {
	return attention.Inputs[T]{Q: h.q.Slice, K: h.k.Slice, V: h.v.Slice}
}

func (s sequences) forwardF32(r *room) job {
	h := newHeads(r, s, r.normal, exactShare)
	return h.forward(r, func() { attention.Forward(r.dev, s.Params, h.inputs(), h.o, h.lse) })
}

func (s sequences) forwardBF16(r *room) job {
	h := newHeads(r, s, r.half, bf16Share)
	return h.forward(r, func() { attention.ForwardBF16(r.dev, s.Params, h.inputs(), h.o, h.lse) })
}

// backwardF32 runs a forward pass for the o and lse that the backward one takes.
func (s sequences) backwardF32(r *room) job {
	h := newHeads(r, s, r.normal, exactShare)
	attention.Forward(r.dev, s.Params, h.inputs(), h.o, h.lse)
	do, d := r.normal(h.q.Len(), 1), h.gradients(r)
	return backward(r, h, do, d, func() { attention.Backward(r.dev, s.Params, h.inputs(), h.o, h.lse, do.Slice, d) })
}

func (s sequences) backwardBF16(r *room) job {
	h := newHeads(r, s, r.half, bf16Share)
	attention.ForwardBF16(r.dev, s.Params, h.inputs(), h.o, h.lse)
	do, d := r.half(h.q.Len(), 1), h.gradients(r)
	return backward(r, h, do, d, func() { attention.BackwardBF16(r.dev, s.Params, h.inputs(), h.o, h.lse, do.Slice, d) })
}

func (h *heads[T]) gradients(r *room) attention.Gradients {
	return attention.Gradients{Q: r.zeros(h.q.Len()), K: r.zeros(h.k.Len()), V: r.zeros(h.k.Len())}
}

// query and key are where head n's of token t begin.
func (s sequences) query(t, n int) int { return (t*s.Heads + n) * s.HeadDim }
func (s sequences) key(t, n int) int   { return (t*s.KVHeads + n/(s.Heads/s.KVHeads)) * s.HeadDim }

// score is q·k of two tokens, scaled.
func (h *heads[T]) score(t, s, n int) float64 {
	return float64(h.Scale) * dot(h.q, h.query(t, n), h.k, h.key(s, n), h.HeadDim)
}

// probabilities of the keys that token t of head n sees, from the first on, and ln Σ exp.
func (h *heads[T]) probabilities(t, n int) (first int, p []float64, lse float64) {
	first = t / h.length * h.length
	top := math.Inf(-1)
	for s := first; s <= t; s++ {
		p = append(p, h.score(t, s, n))
		top = max(top, p[s-first])
	}
	sum := 0.0
	for i := range p {
		p[i] = math.Exp(p[i] - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return first, p, top + math.Log(sum)
}

func (h *heads[T]) forward(r *room, call func()) job {
	return job{call: call, again: true, outputs: []output{
		{name: "o", rows: h.tokens * h.Heads, cols: h.HeadDim, each: 16, read: r.floats(h.o), want: func(row int, cols []int) []expected {
			t, n := row/h.Heads, row%h.Heads
			first, p, _ := h.probabilities(t, n)
			return entries(cols, h.share, len(p), func(s, c int) (x, noise float64) { return p[s] * h.v.at(h.key(first+s, n)+c), 0 })
		}},
		{name: "lse", rows: h.Heads, cols: h.tokens, each: 1, read: r.floats(h.lse), want: each(func(n, t int) expected {
			_, _, lse := h.probabilities(t, n)
			return expected{lse, exactShare * (1 + math.Abs(lse))}
		})},
	}}
}

// entries are sums of n terms, one for each column; noise is how far off a term may be
// whatever it is itself.
func entries(cols []int, share float64, n int, term func(i, col int) (x, noise float64)) []expected {
	out := make([]expected, len(cols))
	for i, c := range cols {
		var t total
		for s := range n {
			t.blurred(term(s, c))
		}
		out[i] = t.rounded(share)
	}
	return out
}

// backward checks dq, dk and dv against the o and lse that the pass was given.
func backward[T driver.Element](r *room, h *heads[T], do operand[T], d attention.Gradients, call func()) job {
	dim := h.HeadDim
	given := func(s driver.F32) []float32 {
		x, err := driver.Read(r.dev, s)
		must(err)
		return x
	}
	o, lse := given(h.o), given(h.lse)
	// slope is p of query t and key s, the gradient of their score but for Scale, and what is
	// lost of it where do·v and do·o are nearly the same.
	slope := func(t, s, n int) (p, ds, noise float64) {
		p = math.Exp(h.score(t, s, n) - float64(lse[n*h.tokens+t]))
		at, delta := h.query(t, n), 0.0
		for l := range dim {
			delta += do.at(at+l) * float64(o[at+l])
		}
		dp := dot(do, at, h.v, h.key(s, n), dim)
		return p, p * (dp - delta), exactShare / 2 * p * (math.Abs(dp) + math.Abs(delta) + math.Sqrt(float64(dim)))
	}
	scale := float64(h.Scale)
	// ofKey is a gradient of keys or values: over all queries that see key s, and the heads
	// that share it.
	ofKey := func(of func(p, ds, noise float64, at, col int) (x, e float64)) func(int, []int) []expected {
		return func(row int, cols []int) []expected {
			s, shared := row/h.KVHeads, row%h.KVHeads
			last, group := (s/h.length+1)*h.length, h.Heads/h.KVHeads
			n := (last - s) * group
			at, p, ds, noise := make([]int, n), make([]float64, n), make([]float64, n), make([]float64, n)
			for i := range n {
				t, head := s+i/group, shared*group+i%group
				at[i] = h.query(t, head)
				p[i], ds[i], noise[i] = slope(t, s, head)
			}
			return entries(cols, h.share, n, func(i, c int) (x, e float64) { return of(p[i], ds[i], noise[i], at[i], c) })
		}
	}
	return job{call: call, again: true, outputs: []output{
		{name: "dq", rows: h.tokens * h.Heads, cols: dim, each: 16, read: r.floats(d.Q), want: func(row int, cols []int) []expected {
			t, n := row/h.Heads, row%h.Heads
			first := t / h.length * h.length
			ds, noise := make([]float64, t+1-first), make([]float64, t+1-first)
			for i := range ds {
				_, ds[i], noise[i] = slope(t, first+i, n)
			}
			return entries(cols, h.share, len(ds), func(i, c int) (x, e float64) {
				k := scale * h.k.at(h.key(first+i, n)+c)
				return ds[i] * k, noise[i] * math.Abs(k)
			})
		}},
		{name: "dk", rows: h.tokens * h.KVHeads, cols: dim, each: 16, read: r.floats(d.K), want: ofKey(func(_, ds, noise float64, at, c int) (x, e float64) {
			q := scale * h.q.at(at+c)
			return ds * q, noise * math.Abs(q)
		})},
		{name: "dv", rows: h.tokens * h.KVHeads, cols: dim, each: 16, read: r.floats(d.V), want: ofKey(func(p, _, _ float64, at, c int) (x, e float64) { return p * do.at(at+c), 0 })},
	}}
}
