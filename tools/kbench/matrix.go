package main

import (
	"strings"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/lora"
)

// products are the matrix products of a model's layers, forward (NT), by the input (NN)
// and by the weight (TN), and square ones.
func products(m model) []Case {
	var out []Case
	for _, s := range [][2]int{ // in, out
		{m.hidden, m.heads * m.headDim},
		{m.hidden, m.kv * m.headDim},
		{m.hidden, m.ffn},
		{m.ffn, m.hidden},
	} {
		in, to := s[0], s[1]
		out = append(
			out,
			product(m, gemm.NT, true, m.tokens, to, in),
			product(m, gemm.NN, true, m.tokens, in, to),
			product(m, gemm.TN, true, to, in, m.tokens),
			fusedLoRA(m, gemm.NT, m.tokens, to, in),
			fusedLoRA(m, gemm.NN, m.tokens, in, to),
		)
	}
	out = append(out, product(m, gemm.NT, false, m.tokens, m.ffn, m.hidden))
	for _, n := range m.squares {
		for _, tr := range []gemm.Transpose{gemm.NN, gemm.NT, gemm.TN} {
			out = append(out, product(m, tr, true, n, n, n))
		}
		if n <= 4096 { // in float32 8192³ takes longer than it tells
			out = append(out, product(m, gemm.NT, false, n, n, n))
		}
	}
	return out
}

// strides are lda and ldb of dense matrices.
func strides(tr gemm.Transpose, m, n, k int) (lda, ldb int) {
	lda, ldb = k, n
	if tr == gemm.TN {
		lda = m
	}
	if tr == gemm.NT {
		ldb = k
	}
	return lda, ldb
}

func product(from model, tr gemm.Transpose, bf16 bool, m, n, k int) Case {
	d, label := dims("m n k", m, n, k)
	lda, ldb := strides(tr, m, n, k)
	c := Case{Op: "gemm_" + strings.ToLower(tr.String()), Type: "f32", Model: from.name, Label: label, Dims: d}
	c.Floor = Floor{Ops: 2 * float64(m) * float64(n) * float64(k), Unit: multiply, Bytes: 4 * (float64(m)*float64(k) + float64(k)*float64(n) + float64(m)*float64(n))}
	c.setup = func(r *room) func() {
		a, b, out := r.normal(m*k, 1), r.normal(k*n, 1), r.zeros(m*n)
		return func() { gemm.Run(r.dev, tr, m, n, k, 1, a, lda, b, ldb, 0, out, n) }
	}
	if bf16 {
		c.Type, c.Floor.Unit = "bf16", tensor
		c.Floor.Bytes -= 2 * (float64(m)*float64(k) + float64(k)*float64(n))
		c.setup = func(r *room) func() {
			a, b, out := r.half(m*k, 1), r.half(k*n, 1), r.zeros(m*n)
			return func() { gemm.RunBF16(r.dev, tr, m, n, k, 1, a, lda, b, ldb, 0, out, n) }
		}
	}
	return c
}

// fusedLoRA is a linear layer with its low-rank branch in one launch.
func fusedLoRA(from model, tr gemm.Transpose, m, n, k int) Case {
	r := from.rank
	d, label := dims("m n k r", m, n, k, r)
	lda, ldb := strides(tr, m, n, k)
	_, ldl := strides(tr, m, n, r)
	return Case{
		Op: "gemm_lora_" + strings.ToLower(tr.String()), Type: "bf16", Model: from.name, Label: label, Dims: d,
		Floor: Floor{
			Ops: 2 * float64(m) * float64(n) * float64(k+r), Unit: tensor,
			Bytes: 2*float64(m+n)*float64(k+r) + 4*float64(m)*float64(n),
		},
		setup: func(room *room) func() {
			a, b, c := room.half(m*k, 1), room.half(k*n, 1), room.zeros(m*n)
			u, l := room.half(m*r, 1), room.half(r*n, 1)
			return func() { gemm.RunLoRABF16(room.dev, tr, m, n, k, r, a, lda, b, ldb, u, r, l, ldl, 0, c, n) }
		},
	}
}

// loraCases are the float32 branch by itself, as it trains.
func loraCases(m model) []Case {
	var out []Case
	for _, s := range [][2]int{{m.hidden, m.heads * m.headDim}, {m.hidden, m.ffn}, {m.ffn, m.hidden}} {
		in, to, t, rank := s[0], s[1], m.tokens, m.rank
		d, label := dims("t in out r", t, in, to, rank)
		x, y, w := float64(t*in), float64(t*to), float64(rank*(in+to))
		ops := 2 * float64(t) * float64(rank) * float64(in+to)
		out = append(
			out,
			Case{
				Op: "lora_forward", Type: "f32", Model: m.name, Label: label, Dims: d,
				Floor: Floor{Ops: ops, Unit: multiply, Bytes: 4 * (x + 2*y + w + float64(t*rank))},
				setup: func(r *room) func() {
					x, a, b := r.normal(t*in, 1), r.normal(rank*in, 0.1), r.normal(to*rank, 0.1)
					u, y := r.zeros(t*rank), r.zeros(t*to)
					return func() { lora.Forward(r.dev, x, a, b, 1, u, y, t, in, to, rank) }
				},
			},
			Case{
				Op: "lora_backward", Type: "f32", Model: m.name, Label: label, Dims: d,
				Floor: Floor{Ops: 2 * ops, Unit: multiply, Bytes: 4 * (3*x + y + 3*w + 2*float64(t*rank))},
				setup: func(r *room) func() { return loraBackward(r, t, in, to, rank) },
			},
		)
	}
	return out
}

func loraBackward(r *room, t, in, out, rank int) func() {
	dy, x, a, b, u := r.normal(t*out, 1), r.normal(t*in, 1), r.normal(rank*in, 0.1), r.normal(out*rank, 0.1), r.normal(t*rank, 1)
	v, dx, da, db := r.zeros(t*rank), r.zeros(t*in), r.zeros(rank*in), r.zeros(out*rank)
	return func() { lora.Backward(r.dev, dy, x, a, b, u, 1, v, dx, da, db, t, in, out, rank) }
}

// none is a tensor that is not wanted.
var none driver.F32
