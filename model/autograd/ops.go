package autograd

import (
	"cmp"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/columns"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/model/tensor"
)

// op identifies what a node computed.
type op uint8

const (
	opEmbed op = iota
	opLinear
	opNorm
	opRope
	opAttention
	opSwiGLU
	opResidual
	opColumns
	opRoute
	opDispatch
	opCombine
	opGate
	opPointwise
	opLayerNorm
	opShortConv
	opDeltaRule
	opJoin
	opSend
	opGather
	opScaled
	opWeigh
	ops       // the length of the tables of VJPs
	opSegment // runs the VJPs of the ops inside the segment
	opMark    // calls a function; computes nothing
)

// vjps has the VJP of every op. When a node's VJP runs, its output has its gradient; the VJP
// computes those of its operands and parameters.
var vjps = [ops]func(*Tape, *node) error{
	opEmbed:     embedVJP,
	opLinear:    linearVJP,
	opNorm:      normVJP,
	opRope:      ropeVJP,
	opAttention: attentionVJP,
	opSwiGLU:    swigluVJP,
	opResidual:  residualVJP,
	opColumns:   columnsVJP,
	opRoute:     routeVJP,
	opDispatch:  dispatchVJP,
	opCombine:   combineVJP,
	opGate:      gateVJP,
	opPointwise: pointwiseVJP,
	opLayerNorm: layerNormVJP,
	opShortConv: shortConvVJP,
	opDeltaRule: deltaRuleVJP,
	opJoin:      joinVJP,
	opSend:      sendVJP,
	opGather:    gatherVJP,
	opScaled:    scaledVJP,
	opWeigh:     weighVJP,
}

// cheap reports whether an op's output is recomputed in the backward pass instead of kept.
func (o op) cheap() bool {
	return o == opNorm || o == opLayerNorm || o == opSwiGLU || o == opPointwise || o == opDispatch
}

// compute recomputes the output of a cheap op into memory that the caller has allocated.
func (t *Tape) compute(n *node) {
	switch {
	case !n.half:
	case n.op == opNorm:
		normHalfRecompute(t, n)
		return
	default:
		swigluHalfRecompute(t, n)
		return
	}
	switch n.op {
	case opNorm:
		normRecompute(t, n)
	case opSwiGLU:
		swigluRecompute(t, n)
	case opDispatch:
		dispatchRecompute(t, n)
	case opPointwise:
		pointwiseRecompute(t, n)
	case opLayerNorm:
		layerNormRecompute(t, n)
	}
}

// scale multiplies b by s; s = 0 means 1.
func (t *Tape) scale(s float32, b *buffer) {
	if s != 0 && s != 1 {
		reduce.Scale(t.dev, s, b.mem)
	}
}

// NormOptions are the variants of RMSNorm.
type NormOptions struct {
	Eps     float32
	OnePlus bool // multiply by 1+w instead of w: gemma
}

// Norm records RMSNorm, out = x / sqrt(mean(x²) + eps) · w (Zhang and Sennrich 2019,
// arXiv:1910.07467). x is [T, n·d] and w [d]: every d elements of a row are normalised by
// themselves, so n is 1 for a layer's norm and the number of heads for a norm of queries or
// keys.
func (t *Tape) Norm(x *Value, w *tensor.Param, o NormOptions) *Value {
	if t.err != nil {
		return nil
	}
	if t.keepsHalf() {
		return t.normHalf(x, w, o)
	}
	d := w.Size()
	out, rstd := t.value(x.Rows, x.Cols, x.needsGrad || w.Trainable()), t.buffer(x.Rows*x.Cols/d)
	var factor *buffer
	if o.OnePlus {
		factor = t.onePlus(w)
	}
	if t.err != nil {
		return nil
	}
	norm.Forward(t.dev, x.Data(), factorOf(w, factor), o.Eps, out.Data(), rstd.mem, d)
	if n := t.record(opNorm, out, x); n != nil {
		n.weight, n.norm = w, o
		n.save(x.data, rstd, factor)
	}
	t.release(rstd)
	t.release(factor)
	return out
}

// onePlus computes 1 + w.
func (t *Tape) onePlus(w *tensor.Param) *buffer {
	b := t.buffer(w.Size())
	if b != nil {
		reduce.Fill(t.dev, 1, b.mem)
		reduce.Add(t.dev, b.mem, w.Data)
	}
	return b
}

// factorOf returns the factor of a norm: onePlus, which holds 1 + w, or w if that is nil.
func factorOf(w *tensor.Param, onePlus *buffer) driver.F32 {
	if onePlus != nil {
		return onePlus.mem
	}
	return w.Data
}

// normVJP overwrites the output's gradient with dx, to save memory.
func normVJP(t *Tape, n *node) error {
	x := n.in[0]
	if t.ownGrad(n.out); t.err != nil {
		return t.err
	}
	dx := n.out.grad
	w, d := factorOf(n.weight, n.saved[2]), n.weight.Size()
	for _, p := range t.partsIf(n.weight.Trainable(), x.Rows) {
		g := p.of(dx.mem, x.Cols)
		norm.Backward(t.dev, g, p.of(n.saved[0].mem, x.Cols), w, p.of(n.saved[1].mem, x.Cols/d), g, n.weight.Grad, d)
	}
	dx.refs++
	t.addGrad(x, dx)
	return t.err
}

func normRecompute(t *Tape, n *node) {
	norm.Forward(t.dev, n.saved[0].mem, factorOf(n.weight, n.saved[2]), n.norm.Eps, n.out.data.mem, n.saved[1].mem, n.weight.Size())
}

// Columns records columns [from, from+n) of x: [T, n].
func (t *Tape) Columns(x *Value, from, n int) *Value { return t.ColumnsOf(x, 1, from, n) }

// ColumnsOf splits every row of x [T, pieces·width] into equal pieces and records columns
// [from, from+n) of each: [T, pieces·n]. It extracts the queries, or the keys, of a projection
// that stores a head's queries, keys and values next to each other.
func (t *Tape) ColumnsOf(x *Value, pieces, from, n int) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(x.Rows, pieces*n, x.needsGrad)
	if out == nil {
		return nil
	}
	width := x.Cols / pieces
	columns.Take(t.dev, x.Data(), width, from, out.Data(), n)
	if node := t.record(opColumns, out, x); node != nil {
		node.from, node.width = from, width
	}
	return out
}

func columnsVJP(t *Tape, n *node) error {
	x := n.in[0]
	if beta := t.accumulator(x); beta == 0 && t.err == nil {
		reduce.Fill(t.dev, 0, x.grad.mem)
	}
	if t.err != nil {
		return t.err
	}
	columns.Add(t.dev, n.out.grad.mem, n.out.Cols*n.width/x.Cols, x.grad.mem, n.width, n.from)
	return nil
}

// Rope rotates the heads of x [T, heads·headDim] in place by the angles of their positions (Su
// et al. 2021, arXiv:2104.09864). x must not be used afterwards: its memory becomes the
// returned value's.
func (t *Tape) Rope(x *Value, pos []int32, table *rope.Table, heads, headDim int) *Value {
	if t.err != nil {
		return nil
	}
	if t.inHalf(x) && table.Half(headDim) {
		return t.ropeHalf(x, pos, table, heads, headDim)
	}
	data := x.Data()
	if t.err != nil {
		return nil
	}
	rope.Apply(t.dev, data, pos, table, heads, headDim, false)
	out := t.alias(x.Rows, x.Cols, x.needsGrad, x.data)
	x.data = nil
	t.drop(x)
	if n := t.record(opRope, out, x); n != nil {
		n.ids, n.rope, n.heads, n.headDim = pos, table, heads, headDim
	}
	return out
}

// ropeVJP applies the inverse rotation to the gradient in place.
func ropeVJP(t *Tape, n *node) error {
	if t.ownGrad(n.out); t.err != nil {
		return t.err
	}
	rope.Apply(t.dev, n.out.grad.mem, n.ids, n.rope, n.heads, n.headDim, true)
	n.out.grad.refs++
	t.addGrad(n.in[0], n.out.grad)
	return t.err
}

// Attention records causal attention within each segment of p. q is [T, Heads·HeadDim], k [T,
// KVHeads·HeadDim], v [T, KVHeads·ValueDim]; the result is [T, Heads·ValueDim].
func (t *Tape) Attention(p attention.Params, q, k, v *Value) *Value {
	return t.SinkAttention(p, nil, q, k, v)
}

// SinkAttention is Attention with one attention sink per head, sinks [Heads]; nil = none.
func (t *Tape) SinkAttention(p attention.Params, sinks *tensor.Param, q, k, v *Value) *Value {
	if t.err != nil {
		return nil
	}
	if sinks != nil {
		p.Sinks = sinks.Data
	}
	if t.BF16 && t.inHalf(q, k, v) {
		return t.attentionHalf(p, q, k, v)
	}
	needsGrad := q.needsGrad || k.needsGrad || v.needsGrad || sinks.Trainable()
	out, lse := t.value(q.Rows, p.Heads*v.Cols/p.KVHeads, needsGrad), t.buffer(p.Heads*q.Rows)
	if t.err != nil {
		return nil
	}
	in := [3]*buffer{t.floats(q), t.floats(k), t.floats(v)}
	if t.err != nil {
		return nil
	}
	if t.BF16 {
		for i, x := range [3]*Value{q, k, v} {
			in[i] = t.narrow(x.data, x.Rows*x.Cols)
		}
		if t.err != nil {
			return nil
		}
		x := attention.Inputs[driver.BF16]{Q: in[0].bf16(q.Rows * q.Cols), K: in[1].bf16(k.Rows * k.Cols), V: in[2].bf16(v.Rows * v.Cols)}
		attention.ForwardBF16(t.dev, p, x, out.Data(), lse.mem)
	} else {
		attention.Forward(t.dev, p, attention.Inputs[float32]{Q: in[0].mem, K: in[1].mem, V: in[2].mem}, out.Data(), lse.mem)
	}
	if n := t.record(opAttention, out, q, k, v); n != nil {
		n.attention, n.weight = p, sinks
		n.save(in[0], in[1], in[2], out.data, lse)
	}
	if t.BF16 {
		for _, b := range in {
			t.release(b)
		}
	}
	t.release(lse)
	return out
}

func attentionVJP(t *Tape, n *node) error {
	var d [3]*buffer
	for i, v := range n.in[:3] {
		if d[i] = t.buffer(v.Rows * v.Cols); d[i] == nil {
			return t.err
		}
	}
	s, do := &n.saved, n.out.grad
	into := attention.Gradients{Q: d[0].mem, K: d[1].mem, V: d[2].mem}
	if n.weight.Trainable() {
		into.Sinks = n.weight.Grad
	}
	if t.BF16 {
		size := n.out.Rows * n.out.Cols
		half := t.narrow(do, size)
		if half == nil {
			return t.err
		}
		kv := n.in[1].Rows * n.in[1].Cols
		x := attention.Inputs[driver.BF16]{Q: s[0].bf16(size), K: s[1].bf16(kv), V: s[2].bf16(kv)}
		attention.BackwardBF16(t.dev, n.attention, x, s[3].mem, s[4].mem, half.bf16(size), into)
		t.release(half)
	} else {
		attention.Backward(t.dev, n.attention, attention.Inputs[float32]{Q: s[0].mem, K: s[1].mem, V: s[2].mem}, s[3].mem, s[4].mem, do.mem, into)
	}
	for i, v := range n.in[:3] {
		t.addGrad(v, d[i])
	}
	return t.err
}

// CachedAttention computes attention from one new token per sequence to a cache of keys and
// values. It is for passes that record nothing.
func (t *Tape) CachedAttention(c attention.Cached, q *Value, k, v driver.F32) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(q.Rows, c.Heads*cmp.Or(c.ValueDim, c.HeadDim), false)
	if out != nil {
		c.Forward(t.dev, q.Data(), k, v, out.Data())
	}
	return out
}

// Rows returns the given rows of x. It is for passes that record nothing.
func (t *Tape) Rows(x *Value, rows []int32) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(len(rows), x.Cols, false)
	if out != nil {
		embed.Forward(t.dev, x.Data(), rows, out.Data(), x.Cols)
	}
	return out
}

// Residual records out = x + scale·y in y's memory; scale = 0 means 1. x and y must not be used
// afterwards.
func (t *Tape) Residual(x, y *Value, scale float32) *Value {
	if t.err != nil {
		return nil
	}
	if t.keepsHalf() {
		return t.residualHalf(x, y, scale)
	}
	t.scale(scale, y.data)
	reduce.Add(t.dev, y.Data(), x.Data())
	out := t.alias(y.Rows, y.Cols, x.needsGrad || y.needsGrad, y.data)
	y.data = nil
	t.Drop(x)
	if n := t.record(opResidual, out, x, y); n != nil {
		n.scale = scale
	}
	return out
}

// residualVJP shares the output's gradient with both operands; only a scaled y gets a copy.
func residualVJP(t *Tape, n *node) error {
	for _, v := range n.in[:2] {
		n.out.grad.refs++
		t.addGrad(v, n.out.grad)
	}
	if y := n.in[1]; n.scale != 0 && n.scale != 1 && y.needsGrad && t.err == nil {
		if t.ownGrad(y); t.err == nil {
			t.scale(n.scale, y.grad)
		}
	}
	return t.err
}

// Scratch returns n floats of unspecified contents that stay allocated until the pass ends; nil
// after an error.
func (t *Tape) Scratch(n int) driver.F32 {
	b := t.buffer(n)
	if b == nil {
		return driver.F32{}
	}
	return b.mem
}
