package main

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/philox"
	"dataflex.dev/dataflex/kernels/xent"
)

// lossCases are the head with cross entropy: losses alone, with the gradient of the
// hidden state, and with that of the weight.
func lossCases(m model) []Case {
	rows, hidden, vocab := m.tokens, m.hidden, m.vocab
	d, label := dims("rows hidden vocab", rows, hidden, vocab)
	product := 2 * float64(rows) * float64(hidden) * float64(vocab)
	h, w := float64(rows*hidden), float64(vocab)*float64(hidden)
	p := xent.Params{Rows: rows, Hidden: hidden, Vocab: vocab}
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
			c.setup = func(r *room) job {
				return headOf(r, p, xent.Run, exactShare, r.normal(rows*hidden, 1), r.normal(vocab*hidden, 0.02)).job(r, products)
			}
			if bf16 {
				c.setup = func(r *room) job {
					return headOf(r, p, xent.RunBF16, bf16Share, r.half(rows*hidden, 1), r.half(vocab*hidden, 0.02)).job(r, products)
				}
			}
			out = append(out, c)
		}
	}
	return out
}

// head is the language model's head with its operands.
type head[T driver.Element] struct {
	xent.Params
	run     func(dev driver.Device, p xent.Params, h, w driver.Slice[T], targets []int32, weight, loss, dh, dw driver.F32)
	share   float64 // by which a logit's gradient is rounded
	h, w    operand[T]
	targets []int32
	loss    driver.F32
}

func headOf[T driver.Element](r *room, p xent.Params, run func(driver.Device, xent.Params, driver.Slice[T], driver.Slice[T], []int32, driver.F32, driver.F32, driver.F32, driver.F32), share float64, h, w operand[T]) *head[T] {
	return &head[T]{p, run, share, h, w, ids(p.Rows, p.Vocab), r.zeros(p.Rows)}
}

// logit is h[t]·w[j].
func (x *head[T]) logit(t, j int) float64 {
	return dot(x.h, t*x.Hidden, x.w, j*x.Hidden, x.Hidden)
}

// row is exp(z - lse) of all logits of a row, and its loss.
func (x *head[T]) row(t int) (p []float64, loss float64) {
	p = make([]float64, x.Vocab)
	top := math.Inf(-1)
	for j := range p {
		p[j] = x.logit(t, j)
		top = max(top, p[j])
	}
	target, sum := p[x.targets[t]], 0.0
	for j := range p {
		p[j] = math.Exp(p[j] - top)
		sum += p[j]
	}
	for j := range p {
		p[j] /= sum
	}
	return p, top + math.Log(sum) - target
}

// job is the pass with that many gradients.
func (x *head[T]) job(r *room, gradients int) job {
	var dh, dw driver.F32
	lossOf := each(func(t, _ int) expected {
		_, loss := x.row(t)
		return expected{loss, exactShare * (1 + math.Abs(loss))}
	})
	j := job{again: gradients < 2, outputs: []output{{name: "loss", rows: x.Rows, cols: 1, each: 32, read: r.floats(x.loss), want: lossOf}}}
	if gradients > 0 {
		dh = r.zeros(x.Rows * x.Hidden)
		j.outputs = append(j.outputs, output{name: "dh", rows: x.Rows, cols: x.Hidden, each: 32, read: r.floats(dh), want: func(t int, cols []int) []expected {
			p, _ := x.row(t)
			p[x.targets[t]]--
			return entries(cols, x.share, x.Vocab, func(v, c int) (float64, float64) { return p[v] * x.w.at(v*x.Hidden+c), 0 })
		}})
	}
	if gradients > 1 { // with the losses of the device, which have a check of their own
		dw = r.zeros(x.Vocab * x.Hidden)
		j.outputs = append(j.outputs, output{name: "dw", rows: x.Vocab, cols: x.Hidden, each: 32, read: r.floats(dw), want: func(v int, cols []int) []expected {
			loss, err := driver.Read(r.dev, x.loss)
			must(err)
			dz := make([]float64, x.Rows)
			for t := range dz {
				target := int(x.targets[t])
				dz[t] = math.Exp(x.logit(t, v) - float64(loss[t]) - x.logit(t, target))
				if v == target {
					dz[t]--
				}
			}
			return entries(cols, x.share, x.Rows, func(t, c int) (float64, float64) { return dz[t] * x.h.at(t*x.Hidden+c), exactShare * math.Abs(dz[t]) })
		}})
	}
	j.call = func() { x.run(r.dev, x.Params, x.h.Slice, x.w.Slice, x.targets, none, x.loss, dh, dw) }
	return j
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
				setup: func(r *room) job { return projection(r, m, gradproj.Options{}, samples, tokens, in, to) },
			}
			half := c
			half.Type = "bf16"
			half.setup = func(r *room) job { return projection(r, m, gradproj.Options{BF16: true}, samples, tokens, in, to) }
			out = append(out, c, half)
		}
	}
	return out
}

// pair is one LoRA pair's factors, and the projection of its gradients.
type pair struct {
	tokens, in, out, rank, dim int
	x, u, dy, v                operand[float32]
	first, second              operand[float32]
	bf16                       bool
}

const seed = 1 // of the random matrix

func projection(r *room, m model, o gradproj.Options, samples, tokens, in, out int) job {
	size, t := m.rank*(in+out), samples*tokens
	p, err := gradproj.New(gradproj.Rademacher, m.dim, seed, size, o)
	must(err)
	a := pair{
		tokens, in, out, m.rank, m.dim, r.normal(t*in, 1), r.normal(t*m.rank, 1), r.normal(t*out, 1), r.normal(t*m.rank, 1),
		r.normal(size, 1), r.positive(size), o.BF16,
	}
	if o.BF16 {
		for _, f := range []*operand[float32]{&a.x, &a.u, &a.dy, &a.v} {
			f.part = nearest(f.part)
		}
	}
	f := gradproj.Factors{X: a.x.Slice, U: a.u.Slice, DY: a.dy.Slice, V: a.v.Slice, In: in, Out: out, Rank: m.rank, Scale: 2}
	for i := range samples + 1 {
		f.Segments = append(f.Segments, int32(i*tokens))
	}
	adam := &gradproj.Adam{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, M: a.first.Slice, V: a.second.Slice}
	dst, norms := r.zeros(samples*m.dim), make([]float64, samples)
	return job{
		call: func() { p.Accumulate(r.dev, f, adam, dst, norms) },
		outputs: []output{{name: "out", rows: samples, cols: m.dim, each: 16, read: r.floats(dst), want: func(row int, cols []int) []expected {
			return a.projected(row, cols)
		}}},
	}
}

// projected is γᵀR of a sample: dA = Vᵀ·X and dB = 2·DYᵀ·U of its tokens, their Adam
// directions, and the signs of package gradproj's comment.
func (a *pair) projected(sample int, cols []int) []expected {
	sums := make([]total, len(cols))
	scale, key := 1/math.Sqrt(float64(a.dim)), philox.Key(seed)
	words := make([][4]uint32, len(cols)) // of 64 rows of R
	share := exactShare
	if a.bf16 {
		share = bf16Share
	}
	for i := range a.rank * (a.in + a.out) {
		if i%64 == 0 {
			for c, j := range cols {
				words[c] = philox.Words([4]uint32{uint32(i / 64), 0, uint32(8*(j/16) + j%8), 0}, key)
			}
		}
		direction, noise := a.direction(sample, i)
		for c, j := range cols {
			b := 2*(i%64/8) + j%16/8 // the byte that holds the row for the column
			sign := float64(int(words[c][b/4]>>(8*(b%4)+i%8)&1)*2 - 1)
			sums[c].add(sign * scale * direction)
			sums[c].slack += noise * scale / 64 // errors of independent signs
		}
	}
	out := make([]expected, len(cols))
	for c, t := range sums {
		out[c] = t.rounded(share)
	}
	return out
}

// direction is entry i of a sample's Adam direction, and how far off float32 may have it
// where the gradient's own sum is small.
func (a *pair) direction(sample, i int) (x, noise float64) {
	var g total
	left, right, l, j, width, scale := a.v, a.x, i/a.in, i%a.in, a.in, 1.0
	if i >= a.rank*a.in {
		at := i - a.rank*a.in
		left, right, l, j, width, scale = a.u, a.dy, at%a.rank, at/a.rank, a.out, 2
	}
	for t := sample * a.tokens; t < (sample+1)*a.tokens; t++ {
		y, z := left.at(t*a.rank+l), right.at(t*width+j)
		g.add(scale * y * z)
	}
	step := func(g float64) float64 {
		return (0.1*g + 0.9*a.first.at(i)) / (math.Sqrt(0.999*a.second.at(i)+0.001*g*g) + 1e-8)
	}
	e := g.rounded(0)
	x = step(e.value)
	return x, math.Abs(step(e.value+e.allowed) - x)
}

// nearest is x as bf16 has it.
func nearest(x []float32) []float32 {
	half, wide := make([]driver.BF16, len(x)), make([]float32, len(x))
	cast.NarrowHost(x, half)
	cast.WidenHost(half, wide)
	return wide
}
