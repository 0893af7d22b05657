package autograd

import (
	"dataflex/driver"
	"dataflex/kernels/attention"
	"dataflex/kernels/embed"
	"dataflex/kernels/norm"
	"dataflex/kernels/reduce"
	"dataflex/kernels/rope"
	"dataflex/kernels/swiglu"
	"dataflex/kernels/xent"
	"dataflex/model/tensor"
)

// op names what a node computed.
type op uint8

const (
	opEmbed op = iota
	opLinear
	opNorm
	opRope
	opAttention
	opSwiGLU
	opResidual
	ops // how many there are
)

// vjps is the table: from a node whose output has its gradient to the gradients of
// its operands and parameters.
var vjps = [ops]func(*Tape, *node) error{
	opEmbed:     embedVJP,
	opLinear:    linearVJP,
	opNorm:      normVJP,
	opRope:      ropeVJP,
	opAttention: attentionVJP,
	opSwiGLU:    swigluVJP,
	opResidual:  residualVJP,
}

// agains is the table of ops whose output is cheaper to compute again than to keep:
// from a recorded node to its output's data, in memory that is there.
var agains = [ops]func(*Tape, *node){
	opNorm:   normAgain,
	opSwiGLU: swigluAgain,
}

// Embed records out[t] = table[ids[t]]; table is [vocabulary, d].
func (t *Tape) Embed(table *tensor.Param, ids []int32) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(len(ids), table.Shape[1], table.Trainable())
	if out == nil {
		return nil
	}
	embed.Forward(t.dev, table.Data, ids, out.Data(), out.Cols)
	if n := t.record(opEmbed, out); n != nil {
		n.weight, n.ids = table, ids
	}
	return out
}

func embedVJP(t *Tape, n *node) error {
	embed.Backward(t.dev, n.out.grad.mem, n.ids, n.weight.Grad, n.out.Cols)
	return nil
}

// Norm records RMSNorm: out = x / sqrt(mean(x²) + eps) · w, row by row.
func (t *Tape) Norm(x *Value, w *tensor.Param, eps float32) *Value {
	if t.err != nil {
		return nil
	}
	out, rstd := t.value(x.Rows, x.Cols, x.wants || w.Trainable()), t.buffer(x.Rows)
	if t.err != nil {
		return nil
	}
	norm.Forward(t.dev, x.Data(), w.Data, eps, out.Data(), rstd.mem, x.Cols)
	if n := t.record(opNorm, out, x); n != nil {
		n.weight, n.eps = w, eps
		n.save(x.data, rstd)
	}
	t.release(rstd)
	return out
}

// normVJP puts dx where the gradient of the output was.
func normVJP(t *Tape, n *node) error {
	x := n.in[0]
	if t.unshare(n.out); t.err != nil {
		return t.err
	}
	dx := n.out.grad
	norm.Backward(t.dev, dx.mem, n.saved[0].mem, n.weight.Data, n.saved[1].mem, dx.mem, n.weight.Grad, x.Cols)
	dx.refs++
	t.deposit(x, dx)
	return t.err
}

func normAgain(t *Tape, n *node) {
	norm.Forward(t.dev, n.saved[0].mem, n.weight.Data, n.eps, n.out.data.mem, n.saved[1].mem, n.out.Cols)
}

// Rope rotates x in place by the positions' angles. It takes x over: only the
// returned value may be used.
func (t *Tape) Rope(x *Value, pos []int32, table *rope.Table, heads, headDim int) *Value {
	if t.err != nil {
		return nil
	}
	rope.Apply(t.dev, x.Data(), pos, table, heads, headDim, false)
	out := t.alias(x.Rows, x.Cols, x.wants, x.data)
	x.data = nil
	if n := t.record(opRope, out, x); n != nil {
		n.ids, n.rope, n.heads, n.headDim = pos, table, heads, headDim
	}
	return out
}

// ropeVJP rotates back, in the gradient's own memory.
func ropeVJP(t *Tape, n *node) error {
	if t.unshare(n.out); t.err != nil {
		return t.err
	}
	rope.Apply(t.dev, n.out.grad.mem, n.ids, n.rope, n.heads, n.headDim, true)
	n.out.grad.refs++
	t.deposit(n.in[0], n.out.grad)
	return t.err
}

// Attention records causal attention inside each segment of p.
// q is [T, Heads·HeadDim], k and v are [T, KVHeads·HeadDim].
func (t *Tape) Attention(p attention.Params, q, k, v *Value) *Value {
	if t.err != nil {
		return nil
	}
	out, lse := t.value(q.Rows, q.Cols, q.wants || k.wants || v.wants), t.buffer(p.Heads*q.Rows)
	if t.err != nil {
		return nil
	}
	attention.Forward(t.dev, p, q.Data(), k.Data(), v.Data(), out.Data(), lse.mem)
	if n := t.record(opAttention, out, q, k, v); n != nil {
		n.attention = p
		n.save(q.data, k.data, v.data, out.data, lse)
	}
	t.release(lse)
	return out
}

func attentionVJP(t *Tape, n *node) error {
	var d [3]*buffer
	for i, v := range n.in {
		if d[i] = t.buffer(v.Rows * v.Cols); d[i] == nil {
			return t.err
		}
	}
	s := &n.saved
	attention.Backward(t.dev, n.attention, s[0].mem, s[1].mem, s[2].mem, s[3].mem, s[4].mem, n.out.grad.mem, d[0].mem, d[1].mem, d[2].mem)
	for i, v := range n.in {
		t.deposit(v, d[i])
	}
	return t.err
}

// SwiGLU records out = silu(gate) · up.
func (t *Tape) SwiGLU(gate, up *Value) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(gate.Rows, gate.Cols, gate.wants || up.wants)
	if out == nil {
		return nil
	}
	swiglu.Forward(t.dev, gate.Data(), up.Data(), out.Data())
	if n := t.record(opSwiGLU, out, gate, up); n != nil {
		n.save(gate.data, up.data)
	}
	return out
}

// swigluVJP puts the gradients where the activations were, unless others read these.
func swigluVJP(t *Tape, n *node) error {
	var d [2]*buffer
	for i := range d {
		if d[i] = n.saved[i]; d[i].refs == 1 {
			d[i].refs++
		} else if d[i] = t.buffer(n.out.Rows * n.out.Cols); d[i] == nil {
			return t.err
		}
	}
	swiglu.Backward(t.dev, n.out.grad.mem, n.saved[0].mem, n.saved[1].mem, d[0].mem, d[1].mem)
	t.deposit(n.in[0], d[0])
	t.deposit(n.in[1], d[1])
	return t.err
}

func swigluAgain(t *Tape, n *node) {
	swiglu.Forward(t.dev, n.saved[0].mem, n.saved[1].mem, n.out.data.mem)
}

// Residual records out = x + y, in y's memory. It takes both over: only the
// returned value may be used.
func (t *Tape) Residual(x, y *Value) *Value {
	if t.err != nil {
		return nil
	}
	reduce.Add(t.dev, y.Data(), x.Data())
	out := t.alias(y.Rows, y.Cols, x.wants || y.wants, y.data)
	y.data = nil
	t.Drop(x)
	t.record(opResidual, out, x, y)
	return out
}

// residualVJP passes the gradient on to both, without a copy.
func residualVJP(t *Tape, n *node) error {
	for _, v := range n.in[:2] {
		n.out.grad.refs++
		t.deposit(v, n.out.grad)
	}
	return t.err
}

// CrossEntropy computes every row's loss against head [vocabulary, d] and, when
// the pass records, already the gradients of h and head: logits are never stored,
// so they exist here or not at all. weight [Rows] multiplies a row's gradient
// (nil = 1); rows with a negative target have loss 0. loss is [Rows], overwritten.
func (t *Tape) CrossEntropy(p xent.Params, h *Value, head *tensor.Param, targets []int32, weight, loss driver.F32) {
	if t.err != nil {
		return
	}
	var dh, dw driver.F32
	if t.mode.Record && (h.wants || head.Trainable()) {
		b := t.buffer(h.Rows * h.Cols)
		if b == nil {
			return
		}
		dh, dw = b.mem, head.Grad
		if h.wants {
			h.grad = b
		}
	}
	xent.Run(t.dev, p, h.Data(), head.Data, targets, weight, loss, dh, dw)
}

// Scratch is n floats of unspecified contents that live as long as the pass; nil
// after an error.
func (t *Tape) Scratch(n int) driver.F32 {
	b := t.buffer(n)
	if b == nil {
		return driver.F32{}
	}
	return b.mem
}
