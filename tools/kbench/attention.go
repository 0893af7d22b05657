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
		forward.setup = func(r *room) func() { return attentionForward(r, p, bf16, tokens, q, k) }
		backward.setup = func(r *room) func() { return attentionBackward(r, p, bf16, tokens, q, k) }
		out = append(out, forward, backward)
	}
	return out
}

func attentionForward(r *room, p attention.Params, bf16 bool, tokens, q, k int) func() {
	o, lse := r.zeros(q), r.zeros(tokens*p.Heads)
	if bf16 {
		x := attention.Inputs[driver.BF16]{Q: r.half(q, 1), K: r.half(k, 1), V: r.half(k, 1)}
		return func() { attention.ForwardBF16(r.dev, p, x, o, lse) }
	}
	x := attention.Inputs[float32]{Q: r.normal(q, 1), K: r.normal(k, 1), V: r.normal(k, 1)}
	return func() { attention.Forward(r.dev, p, x, o, lse) }
}

// attentionBackward runs a forward pass for the o and lse that it takes.
func attentionBackward(r *room, p attention.Params, bf16 bool, tokens, q, k int) func() {
	o, lse := r.zeros(q), r.zeros(tokens*p.Heads)
	d := attention.Gradients{Q: r.zeros(q), K: r.zeros(k), V: r.zeros(k)}
	if bf16 {
		x, do := attention.Inputs[driver.BF16]{Q: r.half(q, 1), K: r.half(k, 1), V: r.half(k, 1)}, r.half(q, 1)
		attention.ForwardBF16(r.dev, p, x, o, lse)
		return func() { attention.BackwardBF16(r.dev, p, x, o, lse, do, d) }
	}
	x, do := attention.Inputs[float32]{Q: r.normal(q, 1), K: r.normal(k, 1), V: r.normal(k, 1)}, r.normal(q, 1)
	attention.Forward(r.dev, p, x, o, lse)
	return func() { attention.Backward(r.dev, p, x, o, lse, do, d) }
}
