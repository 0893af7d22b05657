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

// factors are the matrices of a product of k steps.
func factors[T gemm.Element](tr gemm.Transpose, a, b driver.Slice[T], m, n, k int) (x, y gemm.Matrix[T]) {
	x, y = gemm.Dense(a, m, k), gemm.Dense(b, k, n)
	if tr == gemm.TN {
		x = gemm.Dense(a, k, m)
	}
	if tr == gemm.NT {
		y = gemm.Dense(b, n, k)
	}
	return x, y
}

func product(from model, tr gemm.Transpose, bf16 bool, m, n, k int) Case {
	d, label := dims("m n k", m, n, k)
	c := Case{Op: "gemm_" + strings.ToLower(tr.String()), Type: "f32", Model: from.name, Label: label, Dims: d}
	c.Floor = Floor{Ops: 2 * float64(m) * float64(n) * float64(k), Unit: multiply, Bytes: 4 * (float64(m)*float64(k) + float64(k)*float64(n) + float64(m)*float64(n))}
	c.setup = func(r *room) func() {
		a, b := factors(tr, r.normal(m*k, 1), r.normal(k*n, 1), m, n, k)
		out := gemm.Dense(r.zeros(m*n), m, n)
		return func() { gemm.Run(r.dev, tr, 1, a, b, 0, out) }
	}
	if bf16 {
		c.Type, c.Floor.Unit = "bf16", tensor
		c.Floor.Bytes -= 2 * (float64(m)*float64(k) + float64(k)*float64(n))
		c.setup = func(r *room) func() {
			a, b := factors(tr, r.half(m*k, 1), r.half(k*n, 1), m, n, k)
			out := gemm.Dense(r.zeros(m*n), m, n)
			return func() { gemm.RunBF16(r.dev, tr, 1, a, b, 0, out) }
		}
	}
	return c
}

// fusedLoRA is a linear layer with its low-rank branch in one launch.
func fusedLoRA(from model, tr gemm.Transpose, m, n, k int) Case {
	r := from.rank
	d, label := dims("m n k r", m, n, k, r)
	return Case{
		Op: "gemm_lora_" + strings.ToLower(tr.String()), Type: "bf16", Model: from.name, Label: label, Dims: d,
		Floor: Floor{
			Ops: 2 * float64(m) * float64(n) * float64(k+r), Unit: tensor,
			Bytes: 2*float64(m+n)*float64(k+r) + 4*float64(m)*float64(n),
		},
		setup: func(room *room) func() {
			a, b := factors(tr, room.half(m*k, 1), room.half(k*n, 1), m, n, k)
			c := gemm.Dense(room.zeros(m*n), m, n)
			u, l := factors(tr, room.half(m*r, 1), room.half(r*n, 1), m, n, r)
			return func() { gemm.RunLoRABF16(room.dev, tr, a, b, u, l, 0, c) }
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
					x := gemm.Dense(r.normal(t*in, 1), t, in)
					w := lora.Branch{A: gemm.Dense(r.normal(rank*in, 0.1), rank, in), B: gemm.Dense(r.normal(to*rank, 0.1), to, rank), Scale: 1}
					u, y := gemm.Dense(r.zeros(t*rank), t, rank), gemm.Dense(r.zeros(t*to), t, to)
					return func() { w.Forward(r.dev, x, u, y) }
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
	dy, x := gemm.Dense(r.normal(t*out, 1), t, out), gemm.Dense(r.normal(t*in, 1), t, in)
	w := lora.Branch{A: gemm.Dense(r.normal(rank*in, 0.1), rank, in), B: gemm.Dense(r.normal(out*rank, 0.1), out, rank), Scale: 1}
	u, v, dx := gemm.Dense(r.normal(t*rank, 1), t, rank), gemm.Dense(r.zeros(t*rank), t, rank), gemm.Dense(r.zeros(t*in), t, in)
	w.DA, w.DB = gemm.Dense(r.zeros(rank*in), rank, in), gemm.Dense(r.zeros(out*rank), out, rank)
	return func() { w.Backward(r.dev, dy, x, u, v, dx) }
}

// none is a tensor that is not wanted.
var none driver.F32
