package main

import (
	"dataflex.dev/dataflex/kernels/adamw"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/dropout"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/peak"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// memoryCase is bound by the bytes it moves.
func memoryCase(m model, op, typ string, bytes float64, d []Dim, label string, setup func(r *room) func()) Case {
	return Case{Op: op, Type: typ, Model: m.name, Label: label, Dims: d, Floor: Floor{Bytes: bytes}, setup: setup}
}

func normCases(m model) []Case {
	rows, d := m.tokens, m.hidden
	shape, label := dims("rows d", rows, d)
	x := 4 * float64(rows*d)
	backward := func(weight bool) func(r *room) func() {
		return func(r *room) func() {
			dy, x, w, rstd, dx, dw := r.normal(rows*d, 1), r.normal(rows*d, 1), r.normal(d, 1), r.positive(rows), r.zeros(rows*d), none
			if weight {
				dw = r.zeros(d)
			}
			return func() { norm.Backward(r.dev, dy, x, w, rstd, dx, dw, d) }
		}
	}
	return []Case{
		memoryCase(m, "norm_forward", "f32", 2*x, shape, label, func(r *room) func() {
			x, w, y, rstd := r.normal(rows*d, 1), r.normal(d, 1), r.zeros(rows*d), r.zeros(rows)
			return func() { norm.Forward(r.dev, x, w, 1e-5, y, rstd, d) }
		}),
		memoryCase(m, "norm_backward", "f32", 3*x, shape, label, backward(false)),
		memoryCase(m, "norm_backward_dw", "f32", 3*x, shape, label, backward(true)),
		memoryCase(m, "layernorm_forward", "f32", 2*x, shape, label, func(r *room) func() {
			l := norm.Layer{Eps: 1e-5, W: r.normal(d, 1), B: r.normal(d, 1)}
			x, y, moments := r.normal(rows*d, 1), r.zeros(rows*d), r.zeros(2*rows)
			return func() { l.Forward(r.dev, x, y, moments, d) }
		}),
		memoryCase(m, "layernorm_backward", "f32", 3*x, shape, label, func(r *room) func() {
			l := norm.Layer{Eps: 1e-5, W: r.normal(d, 1), B: r.normal(d, 1)}
			dy, x, moments, dx := r.normal(rows*d, 1), r.normal(rows*d, 1), r.positive(2*rows), r.zeros(rows*d)
			return func() { l.Backward(r.dev, dy, x, moments, dx, none, none, d) }
		}),
	}
}

// pointwise are what stands between the products of a layer.
func pointwise(m model) []Case {
	var out []Case
	t, n := m.tokens, m.tokens*m.ffn
	d, label := dims("n", n)
	out = append(
		out,
		memoryCase(m, "swiglu_forward", "f32", 3*4*float64(n), d, label, func(r *room) func() {
			gate, up, y := r.normal(n, 1), r.normal(n, 1), r.zeros(n)
			return func() { swiglu.Forward(r.dev, swiglu.SiLU, gate, up, y) }
		}),
		memoryCase(m, "swiglu_backward", "f32", 5*4*float64(n), d, label, func(r *room) func() {
			dy, gate, up, dgate, dup := r.normal(n, 1), r.normal(n, 1), r.normal(n, 1), r.zeros(n), r.zeros(n)
			return func() { swiglu.Backward(r.dev, swiglu.SiLU, dy, gate, up, dgate, dup) }
		}),
		memoryCase(m, "gelu_forward", "f32", 2*4*float64(n), d, label, func(r *room) func() {
			x, y := r.normal(n, 1), r.zeros(n)
			return func() { swiglu.Pointwise{Function: swiglu.ExactGELU}.Forward(r.dev, x, y) }
		}),
		memoryCase(m, "gelu_backward", "f32", 3*4*float64(n), d, label, func(r *room) func() {
			dy, x, dx := r.normal(n, 1), r.normal(n, 1), r.zeros(n)
			return func() { swiglu.Pointwise{Function: swiglu.ExactGELU}.Backward(r.dev, dy, x, dx) }
		}),
	)
	d, label = dims("rows cols", t, m.hidden)
	out = append(out, memoryCase(m, "dropout", "f32", 2*4*float64(t*m.hidden), d, label, func(r *room) func() {
		x, y := r.normal(t*m.hidden, 1), r.zeros(t*m.hidden)
		return func() { dropout.Mask(r.dev, dropout.Key{Seed: 1}, 0.1, t, m.hidden, x, y, false) }
	}))
	d, label = dims("tokens heads dim", t, m.heads, m.headDim)
	out = append(out, memoryCase(m, "rope", "f32", 2*4*float64(t*m.heads*m.headDim), d, label, func(r *room) func() {
		x, pos := r.normal(t*m.heads*m.headDim, 1), make([]int32, t)
		for i := range pos {
			pos[i] = int32(i)
		}
		table, err := rope.NewTable(m.headDim, 500000, rope.Scaling{}, t)
		must(err)
		return func() { rope.Apply(r.dev, x, pos, table, m.heads, m.headDim, false) }
	}))
	d, label = dims("tokens vocab d", t, m.vocab, m.hidden)
	row := 4 * float64(t*m.hidden)
	return append(
		out,
		memoryCase(m, "embed_forward", "f32", 2*row, d, label, func(r *room) func() {
			table, y, rows := r.normal(m.vocab*m.hidden, 1), r.zeros(t*m.hidden), ids(t, m.vocab)
			return func() { embed.Forward(r.dev, table, rows, y, m.hidden) }
		}),
		memoryCase(m, "embed_forward", "bf16", 1.5*row, d, label, func(r *room) func() {
			table, y, rows := r.half(m.vocab*m.hidden, 1), r.zeros(t*m.hidden), ids(t, m.vocab)
			return func() { embed.ForwardBF16(r.dev, table, rows, y, m.hidden) }
		}),
		memoryCase(m, "embed_backward", "f32", 3*row, d, label, func(r *room) func() {
			table, dy, rows := r.zeros(m.vocab*m.hidden), r.normal(t*m.hidden, 1), ids(t, m.vocab)
			return func() { embed.Backward(r.dev, dy, rows, table, m.hidden) }
		}),
	)
}

// vectors go over everything that is trained, or over a layer's activations.
func vectors(m model) []Case {
	n, wide := m.adapters, m.tokens*m.ffn
	d, label := dims("n", n)
	b := 4 * float64(n)
	x, wideLabel := dims("n", wide)
	return []Case{
		memoryCase(m, "adamw", "f32", 7*b, d, label, func(r *room) func() {
			p, g, first, second := r.normal(n, 1), r.normal(n, 1), r.normal(n, 1), r.positive(n)
			h := adamw.Hyper{LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, Step: 10, GradScale: 1}
			return func() { adamw.Step(r.dev, p, g, first, second, h) }
		}),
		memoryCase(m, "adamw", "bf16", 7.5*b, d, label, func(r *room) func() {
			p, g, first, second, half := r.normal(n, 1), r.normal(n, 1), r.normal(n, 1), r.positive(n), r.half(n, 1)
			h := adamw.Hyper{LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, Step: 10, GradScale: 1}
			return func() { adamw.StepBF16(r.dev, p, half, g, first, second, h) }
		}),
		memoryCase(m, "reduce_sum_squares", "f32", b, d, label, func(r *room) func() {
			x := r.normal(n, 1)
			return func() { reduce.SumSquares(r.dev, x) }
		}),
		memoryCase(m, "reduce_axpy", "f32", 3*b, d, label, func(r *room) func() {
			x, y := r.normal(n, 1), r.normal(n, 1)
			return func() { reduce.Axpy(r.dev, 1e-9, x, y) }
		}),
		memoryCase(m, "cast_narrow", "bf16", 6*float64(wide), x, wideLabel, func(r *room) func() {
			x, y := r.normal(wide, 1), r.half(wide, 1)
			return func() { cast.Narrow(r.dev, x, y) }
		}),
		memoryCase(m, "cast_widen", "bf16", 6*float64(wide), x, wideLabel, func(r *room) func() {
			x, y := r.half(wide, 1), r.zeros(wide)
			return func() { cast.Widen(r.dev, x, y) }
		}),
		decodeCase(m, "nf4", quant.Format{Kind: quant.NF4, Block: quant.DefaultBlock, Double: true}),
		decodeCase(m, "int8", quant.Format{Kind: quant.Int8}),
		memoryCase(m, "copy", "f32", 8*float64(wide), x, wideLabel, func(r *room) func() {
			x, y := r.normal(wide, 1), r.zeros(wide)
			return func() { peak.Copy(r.dev, x, y) }
		}),
	}
}

// decodeCase is a matrix of the MLP from codes to bf16: what a product with it costs beside
// the product.
func decodeCase(m model, name string, f quant.Format) Case {
	rows, cols := m.ffn, m.hidden
	d, label := dims("rows cols", rows, cols)
	return memoryCase(m, "quant_decode", name, float64(f.Bytes(rows, cols))+2*float64(rows*cols), d, label, func(r *room) func() {
		w := f.In(r.alloc(f.Bytes(rows, cols)), rows, cols)
		out := gemm.Dense(r.half(rows*cols, 1), rows, cols)
		return func() { w.DecodeBF16(r.dev, 0, rows, 0, cols, out) }
	})
}
