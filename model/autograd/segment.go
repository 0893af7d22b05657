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
	input := x.data
	input.refs++
	t.mode.Record = false
	y := f(x)
	t.mode.Record = true
	if t.err != nil {
		return nil
	}
	if n := t.record(opSegment, y, x); n != nil {
		n.segment = f
		n.save(input)
	}
	t.release(input)
	return y
}

// segmentVJP records the segment and runs it backwards. What its routers chose was counted in
// the forward pass.
func segmentVJP(t *Tape, n *node) error {
	out, in, input, f := n.out, n.in[0], n.saved[0], n.segment // n moves when nodes are recorded
	begin, routed := len(t.nodes), len(t.routings)
	input.refs++
	x := t.alias(in.Rows, in.Cols, in.wants, input)
	y := f(x)
	if t.err != nil {
		return t.err
	}
	y.grad, out.grad = out.grad, nil
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
	return t.err
}
