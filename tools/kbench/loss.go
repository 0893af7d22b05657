package main

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/xent"
)

// lossCases are the head with cross entropy: losses alone, with the gradient of the
// hidden state, and with that of the weight.
func lossCases(m model) []Case {
	rows, hidden, vocab := m.tokens, m.hidden, m.vocab
	d, label := dims("rows hidden vocab", rows, hidden, vocab)
	product := 2 * float64(rows) * float64(hidden) * float64(vocab)
	h, w := float64(rows*hidden), float64(vocab)*float64(hidden)
	var out []Case
	for _, bf16 := range []bool{true, false} {
		c := Case{Type: "f32", Model: m.name, Label: label, Dims: d}
		size, unit := 4.0, multiply
		if bf16 {
			c.Type, size, unit = "bf16", 2, tensor
		}
		for products, op := range []string{"xent_loss", "xent_dh", "xent_dh_dw"} {
			c.Op = op
			c.Floor = Floor{float64(products+1) * product, unit, size * (h + w)}
			if products > 0 {
				c.Floor.Bytes += 4 * h
			}
			if products > 1 {
				c.Floor.Bytes += 8 * w
			}
			c.setup = func(r *room) func() {
				return loss(r, xent.Params{Rows: rows, Hidden: hidden, Vocab: vocab}, bf16, products)
			}
			out = append(out, c)
		}
	}
	return out
}

func loss(r *room, p xent.Params, bf16 bool, gradients int) func() {
	targets, loss := ids(p.Rows, p.Vocab), r.zeros(p.Rows)
	var dh, dw driver.F32
	if gradients > 0 {
		dh = r.zeros(p.Rows * p.Hidden)
	}
	if gradients > 1 {
		dw = r.zeros(p.Vocab * p.Hidden)
	}
	if bf16 {
		h, w := r.half(p.Rows*p.Hidden, 1), r.half(p.Vocab*p.Hidden, 0.02)
		return func() { xent.RunBF16(r.dev, p, h, w, targets, none, loss, dh, dw) }
	}
	h, w := r.normal(p.Rows*p.Hidden, 1), r.normal(p.Vocab*p.Hidden, 0.02)
	return func() { xent.Run(r.dev, p, h, w, targets, none, loss, dh, dw) }
}

// projections form per-sample gradients of one LoRA pair, turn them into Adam directions
// and project them. The floor counts the gradients' products and the projection's, one
// multiply-add an entry of the random matrix and sample; in float32 tensor cores do three,
// for the three bf16 that hold a float32, so that a third of the ceiling is all there is.
func projections(m model) []Case {
	var out []Case
	for _, s := range [][2]int{{m.hidden, m.heads * m.headDim}, {m.ffn, m.hidden}} {
		for _, samples := range m.samples {
			in, to, tokens := s[0], s[1], max(1, m.tokens/samples)
			size := m.rank * (in + to)
			d, label := dims("samples tokens in out rank dim", samples, tokens, in, to, m.rank, m.dim)
			t := samples * tokens
			c := Case{
				Op: "gradproj_rademacher", Type: "f32", Model: m.name, Label: label, Dims: d,
				Floor: Floor{
					Ops:   2*float64(samples)*float64(size)*float64(m.dim) + 2*float64(t)*float64(size),
					Unit:  tensor,
					Bytes: 4 * (float64(t)*float64(in+to+2*m.rank) + 2*float64(size) + 2*float64(samples*m.dim)),
				},
				setup: func(r *room) func() { return projection(r, m, gradproj.Options{}, samples, tokens, in, to) },
			}
			half := c
			half.Type = "bf16"
			half.setup = func(r *room) func() { return projection(r, m, gradproj.Options{BF16: true}, samples, tokens, in, to) }
			out = append(out, c, half)
		}
	}
	return out
}

func projection(r *room, m model, o gradproj.Options, samples, tokens, in, out int) func() {
	size, t := m.rank*(in+out), samples*tokens
	p, err := gradproj.New(gradproj.Rademacher, m.dim, 1, size, o)
	must(err)
	f := gradproj.Factors{
		X: r.normal(t*in, 1), U: r.normal(t*m.rank, 1), DY: r.normal(t*out, 1), V: r.normal(t*m.rank, 1),
		In: in, Out: out, Rank: m.rank, Scale: 2,
	}
	for i := range samples + 1 {
		f.Segments = append(f.Segments, int32(i*tokens))
	}
	adam := &gradproj.Adam{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, M: r.normal(size, 1), V: r.positive(size)}
	dst, norms := r.zeros(samples*m.dim), make([]float64, samples)
	return func() { p.Accumulate(r.dev, f, adam, dst, norms) }
}
