package autograd

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/swiglu"
)

// SwiGLU records out = act(gate) · up (Shazeer 2020, arXiv:2002.05202); all are [T, d].
func (t *Tape) SwiGLU(act swiglu.Activation, gate, up *Value) *Value {
	return t.SwiGLUFor(nil, act, gate, up)
}

// SwiGLUFor is SwiGLU whose result only reader reads. On a CPU in bf16 it is then written in bf16,
// as reader would round it.
func (t *Tape) SwiGLUFor(reader *Linear, act swiglu.Activation, gate, up *Value) *Value {
	if t.err != nil {
		return nil
	}
	if t.inHalf(gate, up) && swiglu.HalfActivation(act) {
		return t.swigluHalf(act, gate, up)
	}
	if reader != nil && reader.Weight.Narrows() && t.narrowsGates() {
		return t.swigluNarrowed(act, gate, up)
	}
	out := t.value(gate.Rows, gate.Cols, gate.needsGrad || up.needsGrad)
	if out == nil {
		return nil
	}
	swiglu.Forward(t.dev, act, gate.Data(), up.Data(), out.Data())
	if n := t.record(opSwiGLU, out, gate, up); n != nil {
		n.act = act
		n.save(gate.data, up.data)
	}
	return out
}

// narrowsGates reports whether gates may write bf16 alone: on a CPU that multiplies in it, but for
// passes whose sink reads float32.
func (t *Tape) narrowsGates() bool {
	return t.BF16 && !t.Half && t.mode.Sink == nil && t.dev.Kind() == driver.CPU
}

// swigluNarrowed is SwiGLU of values in float32 with out in bf16.
func (t *Tape) swigluNarrowed(act swiglu.Activation, gate, up *Value) *Value {
	g, u := t.floats(gate), t.floats(up)
	out := t.halfValue(gate.Rows, gate.Cols, gate.needsGrad || up.needsGrad)
	if t.err != nil {
		return nil
	}
	swiglu.ForwardNarrowed(t.dev, act, g.mem, u.mem, t.slice(out))
	if n := t.record(opSwiGLU, out, gate, up); n != nil {
		n.act, n.narrowed = act, true
		n.save(g, u)
	}
	return out
}

// fromBF16 reports whether a layer that multiplies in bf16 computed v, so that it would round v's
// gradient.
func (t *Tape) fromBF16(v *Value) bool {
	if v.node == 0 {
		return false
	}
	n := &t.nodes[v.node-1]
	return n.op == opLinear && n.linears.narrows()
}

func swigluNarrowedVJP(t *Tape, n *node) error {
	size := n.out.Rows * n.out.Cols
	dgate, dup := t.bf16Buffer(size), t.bf16Buffer(size)
	if t.err != nil {
		return t.err
	}
	swiglu.BackwardNarrowed(t.dev, n.act, n.out.grad.mem, n.saved[0].mem, n.saved[1].mem, dgate.bf16(size), dup.bf16(size))
	t.addGradHalf(n.in[0], dgate)
	t.addGradHalf(n.in[1], dup)
	return t.err
}

// ClampedSwiGLU records the gated activation of gpt_oss, with clamped inputs: see
// swiglu.Clamped.
func (t *Tape) ClampedSwiGLU(c swiglu.Clamped, gate, up *Value) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(gate.Rows, gate.Cols, gate.needsGrad || up.needsGrad)
	if out == nil {
		return nil
	}
	c.Forward(t.dev, gate.Data(), up.Data(), out.Data())
	if n := t.record(opSwiGLU, out, gate, up); n != nil {
		n.clamped = &c
		n.save(gate.data, up.data)
	}
	return out
}

// swigluVJP overwrites the saved activations with the gradients, unless other ops still read
// them.
func swigluVJP(t *Tape, n *node) error {
	if n.narrowed && t.fromBF16(n.in[0]) && t.fromBF16(n.in[1]) {
		return swigluNarrowedVJP(t, n)
	}
	dgate, dup := t.reuseSaved(n.saved[0]), t.reuseSaved(n.saved[1])
	if t.err != nil {
		return t.err
	}
	if n.clamped != nil {
		n.clamped.Backward(t.dev, n.out.grad.mem, n.saved[0].mem, n.saved[1].mem, dgate.mem, dup.mem)
	} else {
		swiglu.Backward(t.dev, n.act, n.out.grad.mem, n.saved[0].mem, n.saved[1].mem, dgate.mem, dup.mem)
	}
	t.addGrad(n.in[0], dgate)
	t.addGrad(n.in[1], dup)
	return t.err
}

func swigluRecompute(t *Tape, n *node) {
	if n.narrowed {
		swiglu.ForwardNarrowed(t.dev, n.act, n.saved[0].mem, n.saved[1].mem, n.out.half.bf16(n.out.Rows*n.out.Cols))
		return
	}
	if n.clamped != nil {
		n.clamped.Forward(t.dev, n.saved[0].mem, n.saved[1].mem, n.out.data.mem)
		return
	}
	swiglu.Forward(t.dev, n.act, n.saved[0].mem, n.saved[1].mem, n.out.data.mem)
}
