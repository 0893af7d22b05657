package autograd

import (
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/gemm"
)

// Linears records y = l(x) of several layers that read the same value, at most maxGroup. In
// bf16 they share launches (gemm.RunGroup): in the forward pass one for u of all adapters and
// one for all outputs; in the backward pass one for v of all adapters, one for the gradient of
// x, and one for all gradients of adapters, with another that adds up what many tokens gave.
func (t *Tape) Linears(x *Value, layers ...*Linear) (out [maxGroup]*Value) {
	if t.err != nil {
		return out
	}
	if t.keepsHalf() && !slices.ContainsFunc(layers, func(l *Linear) bool { return !l.groups() }) {
		copy(out[:], t.group(x, slices.Clone(layers))) // a copy, so that layers stays on the caller's stack otherwise
		return out
	}
	for i, l := range layers {
		out[i] = t.Linear(x, l)
	}
	return out
}

// maxGroup is the largest number of layers of a group: the gradient of their input is one sum
// with two products per layer.
const maxGroup = 3

// groups reports whether the layer can be computed by RunGroup.
func (l *Linear) groups() bool {
	return !l.Weight.BF16().IsNil() && l.In%rowChunk == 0 && l.Out%rowChunk == 0 && !l.dora()
}

func (l *Linear) trains() bool {
	return l.Weight.Trainable() || l.Bias.Trainable() || l.LoRA != nil && l.LoRA.A.Trainable()
}

// weight returns W in bf16.
func (l *Linear) weight() gemm.BF16 { return gemm.Dense(l.Weight.BF16(), l.Out, l.In) }

// lowRank is a layer's adapter in bf16: A [r, In], B [Out, r], u = s·x Aᵀ and v = s·dy B, both [T,
// r]. Rows of B, u and v are padded to 16 bytes. Without an adapter all are nil.
type lowRank struct{ a, b, u, v gemm.BF16 }

// lowRanks converts the layers' adapters to bf16. u is what the forward pass kept; nil: memory for
// it is allocated. If backward is set there is memory for v, too. The caller releases buffers,
// and own if u was nil.
func (t *Tape) lowRanks(layers []*Linear, rows int, u *buffer, backward bool) (list []lowRank, own *buffer, buffers []*buffer) {
	width := 0
	for _, l := range layers {
		if l.LoRA != nil {
			width += rows * padded(l.LoRA.Rank)
		}
	}
	if own = u; u == nil && width > 0 {
		own = t.bf16Buffer(width)
	}
	var v *buffer
	if backward && width > 0 {
		v = t.bf16Buffer(width)
		buffers = append(buffers, v)
	}
	at := 0
	for _, l := range layers {
		var w lowRank
		if a := l.LoRA; a != nil && t.err == nil {
			r, ld := a.Rank, padded(a.Rank)
			piece := func(b *buffer) gemm.BF16 {
				if b == nil {
					return gemm.BF16{}
				}
				return gemm.Strided(b.bf16(width).Sub(at, at+rows*ld), rows, r, ld)
			}
			w.u, w.v = piece(own), piece(v)
			var more []*buffer
			w.a, w.b, more = t.narrowAdapter(l)
			buffers, at = append(buffers, more...), at+rows*ld
		}
		list = append(list, w)
	}
	return list, own, buffers
}

// narrowAdapter returns A and B of l's adapter in bf16, as inBF16 does, or converts them for this
// call, and the caller releases buffers.
func (t *Tape) narrowAdapter(l *Linear) (a, b gemm.BF16, buffers []*buffer) {
	if h, ok := t.inBF16(l); ok {
		return h.a, h.b, nil
	}
	h, list, own := t.adapterHalves(l)
	if t.err == nil {
		cast.NarrowList(t.dev, list)
	}
	return h.a, h.b, own
}

// adapterHalves are A [r, In] and B [Out, r] of an adapter in bf16.
type adapterHalves struct{ a, b gemm.BF16 }

// inBF16 returns A and B of l's adapter in bf16: the parameters' own, which are converted once
// for every update, or, of Tape.Adapters, those that this pass has converted, all together at the
// first use of one. ok is false for other adapters.
func (t *Tape) inBF16(l *Linear) (h adapterHalves, ok bool) {
	if h, ok = l.LoRA.kept(); ok {
		return h, true
	}
	t.narrowAdapters()
	h, ok = t.adapters[l.LoRA]
	return h, ok
}

// kept returns A and B in bf16 if the parameters keep them so beside float32: products read them
// without padding, so the rank must be a multiple of 8.
func (a *LoRA) kept() (h adapterHalves, ok bool) {
	if a.A.BF16().IsNil() || a.B.BF16().IsNil() || a.Rank%rowChunk != 0 {
		return h, false
	}
	return adapterHalves{gemm.Dense(a.A.BF16(), a.Rank, a.A.Shape[1]), gemm.Dense(a.B.BF16(), a.B.Shape[0], a.Rank)}, true
}

// narrowAdapters converts those of Tape.Adapters to bf16 that their parameters do not keep so,
// once per pass.
func (t *Tape) narrowAdapters() {
	if t.adapters != nil || t.err != nil {
		return
	}
	t.adapters = map[*LoRA]adapterHalves{}
	var all []cast.Matrix
	for _, l := range t.Adapters {
		if l.LoRA == nil || !l.Weight.Narrows() {
			continue
		}
		if _, ok := l.LoRA.kept(); ok {
			continue
		}
		h, list, _ := t.adapterHalves(l)
		if t.err != nil {
			return
		}
		t.adapters[l.LoRA], all = h, append(all, list...)
	}
	cast.NarrowList(t.dev, all)
}

// adapterHalves allocates the memory for A and B in bf16 and lists the conversions to be
// launched.
func (t *Tape) adapterHalves(l *Linear) (h adapterHalves, list []cast.Matrix, buffers []*buffer) {
	r := l.LoRA.Rank
	ld := padded(r)
	down, up := t.bf16Buffer(r*l.In), t.bf16Buffer(l.Out*ld)
	if t.err != nil {
		return h, nil, nil
	}
	h = adapterHalves{gemm.Dense(down.bf16(r*l.In), r, l.In), gemm.Strided(up.bf16(l.Out*ld), l.Out, r, ld)}
	list = []cast.Matrix{
		{X: l.LoRA.A.Data, Rows: r, Cols: l.In, Ld: l.In, Y: h.a.Data},
		{X: l.LoRA.B.Data, Rows: l.Out, Cols: r, Ld: ld, Y: h.b.Data},
	}
	return h, list, []*buffer{down, up}
}

// group is Linears in bf16.
func (t *Tape) group(x *Value, layers []*Linear) []*Value {
	out := make([]*Value, len(layers))
	needsGrad, trains := x.needsGrad, false
	for _, l := range layers {
		trains = trains || l.trains()
	}
	in := t.narrowed(x)
	lowRanks, u, buffers := t.lowRanks(layers, x.Rows, nil, false)
	for i, l := range layers {
		out[i] = t.halfValue(x.Rows, l.Out, needsGrad || trains)
	}
	if t.err != nil {
		return out
	}
	rows := gemm.Dense(in.bf16(x.Rows*x.Cols), x.Rows, x.Cols)
	var down, sums []gemm.Sum
	for i, l := range layers {
		s := gemm.Sum{Pairs: []gemm.Pair{{A: rows, B: l.weight()}}, Alpha: 1, Half: gemm.Dense(t.slice(out[i]), x.Rows, l.Out)}
		if l.Bias != nil {
			s.Bias = l.Bias.Data
		}
		if w := lowRanks[i]; l.LoRA != nil {
			masked := t.maskHalf(l.LoRA, x, &buffers, rows)
			down = append(down, gemm.Sum{Pairs: []gemm.Pair{{A: masked, B: w.a}}, Alpha: l.LoRA.Scale, Half: w.u})
			s.Pairs = append(s.Pairs, gemm.Pair{A: w.u, B: w.b})
		}
		sums = append(sums, s)
	}
	if t.err != nil {
		return out
	}
	gemm.RunGroup(t.dev, gemm.NT, down)
	gemm.RunGroup(t.dev, gemm.NT, sums)
	if n := t.recordHalf(opLinear, out[0], x); n != nil {
		n.linears.layers, n.more = layers, out[1:]
		for _, y := range n.more {
			y.node = out[0].node
		}
		n.save(nil, u)
		if trains && !t.cheap(x) {
			data, half := t.keep(x)
			n.save(data, nil, half)
		}
	}
	t.release(u)
	for _, b := range buffers {
		t.release(b)
	}
	return out
}

// maskHalf returns what A is multiplied with: x in bf16, or dropout(x).
func (t *Tape) maskHalf(a *LoRA, x *Value, buffers *[]*buffer, rows gemm.BF16) gemm.BF16 {
	if !t.drops(a) {
		return rows
	}
	n := x.Rows * x.Cols
	wide, half := t.buffer(n), t.bf16Buffer(n)
	*buffers = append(*buffers, wide, half)
	if t.err != nil {
		return rows
	}
	cast.Widen(t.dev, rows.Data, wide.mem)
	t.mask(a, x.Rows, x.Cols, wide.mem, wide.mem, false)
	cast.Narrow(t.dev, wide.mem, half.bf16(n))
	return gemm.Dense(half.bf16(n), x.Rows, x.Cols)
}

// groupVJP is linearVJP for a group.
func groupVJP(t *Tape, n *node) error {
	g := t.gradientsOf(n)
	if t.err != nil {
		return t.err
	}
	x, lowRanks := n.in[0], g.lowRanks
	var v []gemm.Sum
	for i, l := range g.layers {
		if l.LoRA != nil {
			v = append(v, gemm.Sum{Pairs: []gemm.Pair{{A: g.dy[i], B: lowRanks[i].b}}, Alpha: l.LoRA.Scale, Half: lowRanks[i].v})
		}
	}
	gemm.RunGroup(t.dev, gemm.NN, v)
	if x.needsGrad {
		t.groupDX(g, x)
	}
	t.groupWeights(g, n)
	t.release(g.u)
	for _, b := range g.buffers {
		t.release(b)
	}
	return t.err
}

// groupGradients are a group's layers with the gradients of their outputs and their adapters.
type groupGradients struct {
	layers   []*Linear
	dy       []gemm.BF16
	lowRanks []lowRank
	u        *buffer
	buffers  []*buffer
}

// gradientsOf collects them. An output that nothing has read gets a gradient of zeros.
func (t *Tape) gradientsOf(n *node) *groupGradients {
	x, g := n.in[0], &groupGradients{}
	g.layers = n.linears.layers
	g.lowRanks, g.u, g.buffers = t.lowRanks(g.layers, x.Rows, n.saved[1], true)
	if g.u != nil {
		g.u.refs++
	}
	for y := range n.outs {
		if y.halfGrad == nil && t.err == nil {
			if y.halfGrad = t.bf16Buffer(y.Rows * y.Cols); y.halfGrad != nil {
				t.clear(y.halfGrad)
			}
		}
		if t.err != nil {
			return g
		}
		g.dy = append(g.dy, gemm.Dense(y.halfGrad.bf16(y.Rows*y.Cols), y.Rows, y.Cols))
	}
	return g
}

// groupDX adds Σ dy W + v A over the layers to the gradient of x. Where there is dropout the
// mask is applied to v A.
func (t *Tape) groupDX(g *groupGradients, x *Value) {
	var pairs []gemm.Pair
	var masked []int
	for i, l := range g.layers {
		pairs = append(pairs, gemm.Pair{A: g.dy[i], B: l.weight()})
		switch {
		case l.LoRA == nil:
		case t.drops(l.LoRA):
			masked = append(masked, i)
		default:
			pairs = append(pairs, gemm.Pair{A: g.lowRanks[i].v, B: g.lowRanks[i].a})
		}
	}
	if len(masked) == 0 {
		if dx := t.bf16Buffer(x.Rows * x.Cols); dx != nil {
			gemm.RunGroup(t.dev, gemm.NN, []gemm.Sum{{Pairs: pairs, Alpha: 1, Half: gemm.Dense(dx.bf16(x.Rows*x.Cols), x.Rows, x.Cols)}})
			t.addGradHalf(x, dx)
		}
		return
	}
	dx, dMasked := t.buffer(x.Rows*x.Cols), t.buffer(x.Rows*x.Cols)
	if t.err != nil {
		return
	}
	gemm.RunGroup(t.dev, gemm.NN, []gemm.Sum{{Pairs: pairs, Alpha: 1, F32: gemm.Dense(dx.mem, x.Rows, x.Cols)}})
	for _, i := range masked {
		gemm.RunBF16(t.dev, gemm.NN, 1, g.lowRanks[i].v, g.lowRanks[i].a, 0, gemm.Dense(dMasked.mem, x.Rows, x.Cols))
		t.mask(g.layers[i].LoRA, x.Rows, x.Cols, dMasked.mem, dx.mem, true)
	}
	t.release(dMasked)
	t.addGrad(x, dx)
}

// groupWeights adds to the gradients of the layers' weights, biases and adapters.
func (t *Tape) groupWeights(g *groupGradients, n *node) {
	if !slices.ContainsFunc(g.layers, (*Linear).trains) {
		return
	}
	x := n.in[0]
	rows := gemm.Dense(t.recall(n), x.Rows, x.Cols)
	masked := make([]gemm.BF16, len(g.layers))
	for i, l := range g.layers {
		if masked[i] = rows; l.LoRA != nil {
			masked[i] = t.maskHalf(l.LoRA, x, &g.buffers, rows)
		}
	}
	if t.err != nil {
		return
	}
	for _, part := range t.parts(x.Rows) {
		var sums []gemm.Sum
		for i, l := range g.layers {
			if l.Weight.Trainable() {
				sums = append(sums, gemm.Sum{Pairs: []gemm.Pair{{A: part.half(g.dy[i]), B: part.half(rows)}}, Alpha: 1, F32: gemm.Dense(l.Weight.Grad, l.Out, l.In), Add: true})
			}
			if l.Bias.Trainable() {
				t.biasGradient(part, g.dy[i], l)
			}
		}
		gemm.RunGroup(t.dev, gemm.TN, sums)
	}
	var adapters []gemm.LoRAGradient
	for i, l := range g.layers {
		if l.LoRA != nil && l.LoRA.A.Trainable() {
			adapters = append(adapters, l.LoRA.gradients(l, g.lowRanks[i].u, g.lowRanks[i].v, masked[i], g.dy[i])...)
		}
	}
	gemm.AddLoRAGradients(t.dev, t.partEnds(x.Rows), adapters)
}

// gradients are those of A and B of l's adapter: dA += vᵀ x and dB += dyᵀ u over the rows.
func (a *LoRA) gradients(l *Linear, u, v, x, dy gemm.BF16) []gemm.LoRAGradient {
	return []gemm.LoRAGradient{
		{A: v, B: x, C: gemm.Dense(a.A.Grad, a.Rank, l.In)},
		{A: dy, B: u, C: gemm.Dense(a.B.Grad, l.Out, a.Rank)},
	}
}

// biasGradient adds the sum of the part's rows of dy to the bias's gradient.
func (t *Tape) biasGradient(part Part, dy gemm.BF16, l *Linear) {
	rows := part.half(dy)
	wide, ones := t.buffer(rows.Rows*l.Out), t.onesColumn(rowsOf{rows: rows.Rows, most: dy.Rows})
	if t.err != nil {
		return
	}
	cast.Widen(t.dev, rows.Data, wide.mem)
	gemm.Run(t.dev, gemm.NN, 1, gemm.Dense(ones, 1, rows.Rows), gemm.Dense(wide.mem, rows.Rows, l.Out), 1, gemm.Dense(l.Bias.Grad, 1, l.Out))
	t.release(wide)
}

// recall returns the input of a recorded group in bf16: kept or recomputed.
func (t *Tape) recall(n *node) driver.Slice[driver.BF16] {
	x := n.in[0]
	if x.data == nil && x.half == nil {
		if n.saved[0] != nil || n.saved[2] != nil {
			x.data, x.half = n.saved[0], n.saved[2]
			for _, b := range []*buffer{x.data, x.half} {
				if b != nil {
					b.refs++
				}
			}
		} else {
			t.recompute(x)
		}
	}
	return t.slice(x)
}
