package autograd

// Segment records y = f(x) as one node that keeps x alone: in the backward pass f is
// recorded anew from it, and its VJPs follow at once (activation checkpointing: Chen et al.
// 2016, arXiv:1604.06174). f takes x over, does the same whenever it is called in this pass,
// and its masks of dropout are functions of the pass's seed: the bits are those of f recorded
// at once. Where the pass does not record it is f.
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

// segmentVJP records the segment and runs it backwards. What its routers chose was counted in
// the forward pass.
func segmentVJP(t *Tape, n *node) error {
	out, in, f := n.out, n.in[0], n.segment // n moves when nodes are recorded
	begin, routed := len(t.nodes), len(t.routings)
	x := t.alias(in.Rows, in.Cols, in.wants, n.saved[0])
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
		t.release(r.probs)
	}
	t.routings = t.routings[:routed]
	if x.grad != nil {
		t.deposit(in, x.grad)
	}
	if x.halfGrad != nil {
		t.depositHalf(in, x.halfGrad)
	}
	return t.err
}
