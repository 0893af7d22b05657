package autograd

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/norm"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/tensor"
)

// halfVJPs has the VJPs of nodes recorded in bf16. The gradients of their outputs are bf16.
var halfVJPs = [ops]func(*Tape, *node) error{
	opLinear:    groupVJP,
	opNorm:      normHalfVJP,
	opRope:      ropeHalfVJP,
	opAttention: attentionHalfVJP,
	opSwiGLU:    swigluHalfVJP,
	opResidual:  residualHalfVJP,
}

// recordHalf is record for an op in bf16.
func (t *Tape) recordHalf(o op, out *Value, in ...*Value) *node {
	n := t.record(o, out, in...)
	if n != nil {
		n.half = true
	}
	return n
}

// normHalf is Norm in bf16. If x is a pending sum the kernel computes that, too.
func (t *Tape) normHalf(x *Value, w *tensor.Param, o NormOptions) *Value {
	d := w.Size()
	out, rstd := t.halfValue(x.Rows, x.Cols, x.needsGrad || w.Trainable()), t.buffer(x.Rows*x.Cols/d)
	var factor *buffer
	if o.OnePlus {
		factor = t.onePlus(w)
	}
	if t.err != nil {
		return nil
	}
	size := x.Rows * x.Cols
	if x.sum != nil {
		s := t.take(x)
		if x.half = t.reuseOrNew(size, s.y, s.x); x.half == nil {
			return nil
		}
		r := norm.Residual{Y: s.y.bf16(size), Scale: s.scale, Sum: x.half.bf16(size)}
		norm.ForwardBF16(t.dev, s.x.bf16(size), r, factorOf(w, factor), o.Eps, out.half.bf16(size), rstd.mem, d)
		t.release(s.x)
		t.release(s.y)
	} else if half := t.slice(x); t.err == nil {
		norm.ForwardBF16(t.dev, half, norm.Residual{}, factorOf(w, factor), o.Eps, out.half.bf16(size), rstd.mem, d)
	}
	if n := t.recordHalf(opNorm, out, x); n != nil {
		n.weight, n.norm = w, o
		n.save(x.half, rstd, factor)
	}
	t.release(rstd)
	t.release(factor)
	return out
}

func normHalfRecompute(t *Tape, n *node) {
	size := n.out.Rows * n.out.Cols
	norm.ForwardBF16(t.dev, n.saved[0].bf16(size), norm.Residual{}, factorOf(n.weight, n.saved[2]), n.norm.Eps, n.out.half.bf16(size), n.saved[1].mem, n.weight.Size())
}

// normHalfVJP also adds the gradient that x already has, from its residual, in the same launch.
func normHalfVJP(t *Tape, n *node) error {
	x, d, dy := n.in[0], n.weight.Size(), n.out.halfGrad
	size := x.Rows * x.Cols
	t.narrowGrad(x)
	dx := t.reuseOrNew(size, dy)
	if t.err != nil {
		return t.err
	}
	part := func(p Part, b *buffer) driver.Slice[driver.BF16] {
		if b == nil {
			return driver.Slice[driver.BF16]{}
		}
		return b.bf16(size).Sub(p.From*x.Cols, p.To*x.Cols)
	}
	for _, p := range t.partsIf(n.weight.Trainable(), x.Rows) {
		norm.BackwardBF16(t.dev, part(p, dy), part(p, n.saved[0]), factorOf(n.weight, n.saved[2]), p.of(n.saved[1].mem, x.Cols/d), part(p, x.halfGrad), part(p, dx), n.weight.Grad, d)
	}
	if !x.needsGrad {
		t.release(dx)
		return t.err
	}
	t.release(x.halfGrad)
	x.halfGrad = dx
	return t.err
}

// ropeHalf is Rope in bf16.
func (t *Tape) ropeHalf(x *Value, pos []int32, table *rope.Table, heads, headDim int) *Value {
	half := t.slice(x)
	if t.err != nil {
		return nil
	}
	rope.ApplyBF16(t.dev, half, pos, table, heads, headDim, false)
	out := t.alias(x.Rows, x.Cols, x.needsGrad, nil)
	out.half, x.half = x.half, nil
	t.drop(x)
	if n := t.recordHalf(opRope, out, x); n != nil {
		n.ids, n.rope, n.heads, n.headDim = pos, table, heads, headDim
	}
	return out
}

func ropeHalfVJP(t *Tape, n *node) error {
	if t.ownGradHalf(n.out); t.err != nil {
		return t.err
	}
	g := n.out.halfGrad
	rope.ApplyBF16(t.dev, g.bf16(n.out.Rows*n.out.Cols), n.ids, n.rope, n.heads, n.headDim, true)
	g.refs++
	t.addGradHalf(n.in[0], g)
	return t.err
}

// attentionHalf is Attention in bf16.
func (t *Tape) attentionHalf(p attention.Params, q, k, v *Value) *Value {
	out, lse := t.halfValue(q.Rows, p.Heads*v.Cols/p.KVHeads, q.needsGrad || k.needsGrad || v.needsGrad), t.buffer(p.Heads*q.Rows)
	x := attention.Inputs[driver.BF16]{Q: t.slice(q), K: t.slice(k), V: t.slice(v)}
	if t.err != nil {
		return nil
	}
	attention.ForwardHalf(t.dev, p, x, t.slice(out), lse.mem)
	if n := t.recordHalf(opAttention, out, q, k, v); n != nil {
		n.attention = p
		n.save(q.half, k.half, v.half, out.half, lse)
	}
	t.release(lse)
	return out
}

func attentionHalfVJP(t *Tape, n *node) error {
	q, k, v, s := n.in[0], n.in[1], n.in[2], &n.saved
	sizes := [3]int{q.Rows * q.Cols, k.Rows * k.Cols, v.Rows * v.Cols}
	var d [3]*buffer
	for i, size := range sizes {
		if d[i] = t.bf16Buffer(size); d[i] == nil {
			return t.err
		}
	}
	of := func(b []*buffer) attention.Inputs[driver.BF16] {
		return attention.Inputs[driver.BF16]{Q: b[0].bf16(sizes[0]), K: b[1].bf16(sizes[1]), V: b[2].bf16(sizes[2])}
	}
	size := n.out.Rows * n.out.Cols
	attention.BackwardHalf(t.dev, n.attention, of(s[:3]), s[3].bf16(size), s[4].mem, n.out.halfGrad.bf16(size), of(d[:]))
	for i, in := range n.in[:3] {
		t.addGradHalf(in, d[i])
	}
	return t.err
}

// swigluHalf is SwiGLU in bf16.
func (t *Tape) swigluHalf(act swiglu.Activation, gate, up *Value) *Value {
	out := t.halfValue(gate.Rows, gate.Cols, gate.needsGrad || up.needsGrad)
	g, u := t.slice(gate), t.slice(up)
	if t.err != nil {
		return nil
	}
	swiglu.ForwardBF16(t.dev, act, g, u, t.slice(out))
	if n := t.recordHalf(opSwiGLU, out, gate, up); n != nil {
		n.act = act
		n.save(gate.half, up.half)
	}
	return out
}

func swigluHalfRecompute(t *Tape, n *node) {
	size := n.out.Rows * n.out.Cols
	swiglu.ForwardBF16(t.dev, n.act, n.saved[0].bf16(size), n.saved[1].bf16(size), n.out.half.bf16(size))
}

// swigluHalfVJP overwrites the saved activations with the gradients, unless other ops still
// read them.
func swigluHalfVJP(t *Tape, n *node) error {
	dgate, dup := t.reuseSaved(n.saved[0]), t.reuseSaved(n.saved[1])
	if t.err != nil {
		return t.err
	}
	size := n.out.Rows * n.out.Cols
	swiglu.BackwardBF16(t.dev, n.act, n.out.halfGrad.bf16(size), n.saved[0].bf16(size), n.saved[1].bf16(size), dgate.bf16(size), dup.bf16(size))
	t.addGradHalf(n.in[0], dgate)
	t.addGradHalf(n.in[1], dup)
	return t.err
}

// residualHalf is Residual in bf16. The sum is computed by the op that reads it.
func (t *Tape) residualHalf(x, y *Value, scale float32) *Value {
	if t.narrowed(x); t.narrowed(y) == nil || t.err != nil {
		return nil
	}
	if scale == 0 {
		scale = 1
	}
	out := t.alias(y.Rows, y.Cols, x.needsGrad || y.needsGrad, nil)
	out.sum = &addition{x: x.half, y: y.half, scale: scale}
	x.half, y.half = nil, nil
	t.Drop(x, y)
	if n := t.recordHalf(opResidual, out, x, y); n != nil {
		n.scale = scale
	}
	return out
}

// residualHalfVJP shares the output's gradient with both operands; only a scaled y gets a copy.
func residualHalfVJP(t *Tape, n *node) error {
	x, y, g := n.in[0], n.in[1], n.out.halfGrad
	g.refs++
	t.addGradHalf(x, g)
	if n.scale == 1 || !y.needsGrad {
		g.refs++
		t.addGradHalf(y, g)
		return t.err
	}
	size := y.Rows * y.Cols
	if scaled := t.bf16Buffer(size); scaled != nil {
		cast.Sum(t.dev, g.bf16(size), g.bf16(size), n.scale-1, scaled.bf16(size))
		t.addGradHalf(y, scaled)
	}
	return t.err
}
