package autograd

// Segment records y = f(x) as one node that keeps only x. The backward pass records f again
// from x and runs its VJPs at once (activation checkpointing: Chen et al. 2016,
// arXiv:1604.06174). f takes ownership of x and must do the same at every call in this pass;
// its dropout masks depend on the pass's seed only. The bits are therefore those of recording f
// directly. In a pass that does not record, Segment just calls f.
func (t *Tape) Segment(x *Value, f func(x *Value) *Value) *Value {
	if t.err != nil {
		return nil
	}
	if !t.mode.Record {
		return f(x)
	}
	input, half := t.keep(x)
	if t.err != nil {
		return nil
	}
	held := input
	if held == nil {
		held = half
	}
	held.refs++
	t.mode.Record = false
	y := f(x)
	t.mode.Record = true
	if t.err != nil {
		return nil
	}
	if n := t.record(opSegment, y, x); n != nil {
		n.segment = f
		n.save(input, half)
	}
	t.release(held)
	return y
}

// segmentVJP records the segment again and differentiates it. Its routings are removed again,
// because the forward pass has counted them already.
func segmentVJP(t *Tape, n *node) error {
	out, in, f := n.out, n.in[0], n.segment // copied: recording moves the nodes
	begin, routed := len(t.nodes), len(t.routings)
	x := t.alias(in.Rows, in.Cols, in.needsGrad, n.saved[0])
	x.half = n.saved[1]
	for _, b := range []*buffer{x.data, x.half} {
		if b != nil {
			b.refs++
		}
	}
	y := f(x)
	if t.err != nil {
		return t.err
	}
	y.grad, y.halfGrad, out.grad, out.halfGrad = out.grad, out.halfGrad, nil, nil
	t.backward(begin)
	if t.err != nil {
		return t.err
	}
	clear(t.nodes[begin:])
	t.nodes = t.nodes[:begin]
	for _, r := range t.routings[routed:] {
		r.release(t)
	}
	t.routings = t.routings[:routed]
	if x.grad != nil {
		t.addGrad(in, x.grad)
	}
	if x.halfGrad != nil {
		t.addGradHalf(in, x.halfGrad)
	}
	return t.err
}
