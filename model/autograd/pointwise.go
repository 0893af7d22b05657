package autograd

import "dataflex.dev/dataflex/kernels/swiglu"

// Pointwise records out = f(x), element by element.
func (t *Tape) Pointwise(f swiglu.Pointwise, x *Value) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(x.Rows, x.Cols, x.needsGrad)
	if out == nil {
		return nil
	}
	f.Forward(t.dev, x.Data(), out.Data())
	if n := t.record(opPointwise, out, x); n != nil {
		n.pointwise = f
		n.save(x.data)
	}
	return out
}

// pointwiseVJP overwrites x with dx, unless other ops still read x.
func pointwiseVJP(t *Tape, n *node) error {
	dx := t.reuseSaved(n.saved[0])
	if t.err != nil {
		return t.err
	}
	n.pointwise.Backward(t.dev, n.out.grad.mem, n.saved[0].mem, dx.mem)
	t.addGrad(n.in[0], dx)
	return t.err
}

func pointwiseRecompute(t *Tape, n *node) {
	n.pointwise.Forward(t.dev, n.saved[0].mem, n.out.data.mem)
}
