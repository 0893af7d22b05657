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
	for _, s := range m.linears() {
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

// addProduct adds the terms of entry (i, j) of a product of a [m, k] and b [k, n], stored as tr
// says, to t.
func addProduct[T gemm.Element](t *total, tr gemm.Transpose, a, b operand[T], m, n, k, i, j int, scale float64) {
	for s := range k {
		x, y := i*k+s, s*n+j
		if tr == gemm.TN {
			x = s*m + i
		}
		if tr == gemm.NT {
			y = j*k + s
		}
		t.add(scale * a.at(x) * b.at(y))
	}
}

func product(from model, tr gemm.Transpose, bf16 bool, m, n, k int) Case {
	d, label := dims("m n k", m, n, k)
	c := Case{Op: "gemm_" + strings.ToLower(tr.String()), Type: "f32", Model: from.name, Label: label, Dims: d}
	c.Floor = Floor{Ops: 2 * float64(m) * float64(n) * float64(k), Unit: multiply, Bytes: 4 * (float64(m)*float64(k) + float64(k)*float64(n) + float64(m)*float64(n))}
	c.setup = func(r *room) job { return productJob(r, gemm.Run, tr, r.normal(m*k, 1), r.normal(k*n, 1), m, n, k) }
	if bf16 {
		c.Type, c.Floor.Unit = "bf16", tensor
		c.Floor.Bytes -= 2 * (float64(m)*float64(k) + float64(k)*float64(n))
		c.setup = func(r *room) job { return productJob(r, gemm.RunBF16, tr, r.half(m*k, 1), r.half(k*n, 1), m, n, k) }
	}
	return c
}

type multiplier[T gemm.Element] func(dev driver.Device, tr gemm.Transpose, alpha float32, a, b gemm.Matrix[T], beta float32, c gemm.F32)

func productJob[T gemm.Element](r *room, run multiplier[T], tr gemm.Transpose, a, b operand[T], m, n, k int) job {
	x, y := gemm.Factors(tr, a.Slice, b.Slice, m, n, k)
	out := r.zeros(m * n)
	return job{
		call: func() { run(r.dev, tr, 1, x, y, 0, gemm.Dense(out, m, n)) },
		outputs: []output{matrix("c", m, n, r.floats(out), func(i, j int) expected {
			var t total
			addProduct(&t, tr, a, b, m, n, k, i, j, 1)
			return t.rounded(0)
		})},
		again: true,
	}
}

// fusedLoRA is a linear layer with its low-rank branch in one launch.
func fusedLoRA(from model, tr gemm.Transpose, m, n, k int) Case {
	rank := from.rank
	d, label := dims("m n k r", m, n, k, rank)
	return Case{
		Op: "gemm_lora_" + strings.ToLower(tr.String()), Type: "bf16", Model: from.name, Label: label, Dims: d,
		Floor: Floor{
			Ops: 2 * float64(m) * float64(n) * float64(k+rank), Unit: tensor,
			Bytes: 2*float64(m+n)*float64(k+rank) + 4*float64(m)*float64(n),
		},
		setup: func(r *room) job {
			a, b, u, l := r.half(m*k, 1), r.half(k*n, 1), r.half(m*rank, 1), r.half(rank*n, 1)
			x, w := gemm.Factors(tr, a.Slice, b.Slice, m, n, k)
			y, v := gemm.Factors(tr, u.Slice, l.Slice, m, n, rank)
			out := r.zeros(m * n)
			return job{
				call: func() { gemm.RunLoRABF16(r.dev, tr, x, w, y, v, 0, gemm.Dense(out, m, n)) },
				outputs: []output{matrix("c", m, n, r.floats(out), func(i, j int) expected {
					var t total
					addProduct(&t, tr, a, b, m, n, k, i, j, 1)
					addProduct(&t, tr, u, l, m, n, rank, i, j, 1)
					return t.rounded(0)
				})},
				again: true,
			}
		},
	}
}

// loraProducts are a branch's own products in bf16, as model/autograd launches them: u =
// x·Aᵀ and v = dy·B are r columns wide, dA = vᵀ·x and dB = dyᵀ·u sum over the tokens.
func loraProducts(m model) []Case {
	var out []Case
	for _, s := range m.linears() {
		in, to, t, r := s[0], s[1], m.tokens, m.rank
		for _, c := range []Case{
			product(m, gemm.NT, true, t, r, in),
			product(m, gemm.NN, true, t, r, to),
			product(m, gemm.TN, true, r, in, t),
			product(m, gemm.TN, true, to, r, t),
		} {
			c.Op = strings.Replace(c.Op, "gemm_", "lora_", 1)
			out = append(out, c)
		}
	}
	return out
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
				setup: func(r *room) job { return loraForward(r, t, in, to, rank) },
			},
			Case{
				Op: "lora_backward", Type: "f32", Model: m.name, Label: label, Dims: d,
				Floor: Floor{Ops: 2 * ops, Unit: multiply, Bytes: 4 * (3*x + y + 3*w + 2*float64(t*rank))},
				setup: func(r *room) job { return loraBackward(r, t, in, to, rank) },
			},
		)
	}
	return out
}

// chained adds Σ_l inner(l)·outer(l): a product whose first factor is a product itself, with
// its errors.
func chained(t *total, rank int, inner func(l int) expected, outer func(l int) float64) {
	for l := range rank {
		e, o := inner(l), outer(l)
		t.blurred(e.value*o, e.allowed*max(o, -o))
	}
}

func loraForward(r *room, t, in, out, rank int) job {
	x, a, b := r.normal(t*in, 1), r.normal(rank*in, 0.1), r.normal(out*rank, 0.1)
	w := lora.Branch{A: gemm.Dense(a.Slice, rank, in), B: gemm.Dense(b.Slice, out, rank), Scale: 1}
	u, y := r.zeros(t*rank), r.zeros(t*out)
	narrow := func(i, l int) expected {
		var sum total
		addProduct(&sum, gemm.NT, x, a, t, rank, in, i, l, 1)
		return sum.rounded(0)
	}
	return job{
		call: func() {
			w.Forward(r.dev, gemm.Dense(x.Slice, t, in), gemm.Dense(u, t, rank), gemm.Dense(y, t, out))
		},
		outputs: []output{matrix("y", t, out, r.floats(y), func(i, j int) expected {
			var sum total
			chained(&sum, rank, func(l int) expected { return narrow(i, l) }, func(l int) float64 { return b.at(j*rank + l) })
			return sum.rounded(0)
		})},
	}
}

func loraBackward(r *room, t, in, out, rank int) job {
	dy, x, u := r.normal(t*out, 1), r.normal(t*in, 1), r.normal(t*rank, 1)
	a, b := r.normal(rank*in, 0.1), r.normal(out*rank, 0.1)
	w := lora.Branch{A: gemm.Dense(a.Slice, rank, in), B: gemm.Dense(b.Slice, out, rank), Scale: 1}
	v, dx, da, db := r.zeros(t*rank), r.zeros(t*in), r.zeros(rank*in), r.zeros(out*rank)
	w.DA, w.DB = gemm.Dense(da, rank, in), gemm.Dense(db, out, rank)
	narrow := func(i, l int) expected {
		var sum total
		addProduct(&sum, gemm.NN, dy, b, t, rank, out, i, l, 1)
		return sum.rounded(0)
	}
	return job{
		call: func() {
			y, narrow := gemm.Dense(dy.Slice, t, out), gemm.Dense(v, t, rank)
			w.Backward(r.dev, y, narrow, gemm.Dense(dx, t, in))
			w.Gradient(r.dev, y, gemm.Dense(x.Slice, t, in), gemm.Dense(u.Slice, t, rank), narrow)
		},
		outputs: []output{
			matrix("dx", t, in, r.floats(dx), func(i, j int) expected {
				var sum total
				chained(&sum, rank, func(l int) expected { return narrow(i, l) }, func(l int) float64 { return a.at(l*in + j) })
				return sum.rounded(0)
			}),
			matrix("v", t, rank, r.floats(v), narrow),
			matrix("dB", out, rank, r.floats(db), func(i, j int) expected {
				var sum total
				addProduct(&sum, gemm.TN, dy, u, out, rank, t, i, j, 1)
				return sum.rounded(0)
			}),
			{name: "dA", rows: rank, cols: in, each: checks, read: r.floats(da), want: func(l int, cols []int) []expected {
				sums := make([]total, len(cols))
				for i := range t {
					e := narrow(i, l)
					for c, j := range cols {
						xij := x.at(i*in + j)
						sums[c].blurred(e.value*xij, e.allowed*max(xij, -xij)/8) // signs of independent errors: 8 of t's root
					}
				}
				out := make([]expected, len(cols))
				for c := range sums {
					out[c] = sums[c].rounded(0)
				}
				return out
			}},
		},
	}
}

// none is a tensor that is not wanted.
var none driver.F32
