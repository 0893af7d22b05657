package autograd

import (
	"dataflex.dev/dataflex/kernels/columns"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/router"
)

// Join appends all of b [T, m] to each head of a [T, heads·n], as multi-head latent attention
// shares the rotary part of its keys: [T, heads·(n+m)].
func (t *Tape) Join(a, b *Value, heads int) *Value {
	if t.err != nil {
		return nil
	}
	n, m := a.Cols/heads, b.Cols
	out := t.value(a.Rows, heads*(n+m), a.needsGrad || b.needsGrad)
	if out == nil {
		return nil
	}
	reduce.Fill(t.dev, 0, out.Data())
	columns.Add(t.dev, a.Data(), n, out.Data(), n+m, 0)
	for h := range heads {
		columns.Add(t.dev, b.Data(), m, out.Data(), out.Cols, h*(n+m)+n)
	}
	if node := t.record(opJoin, out, a, b); node != nil {
		node.heads = heads
	}
	return out
}

// Zeros returns a matrix of zeros that needs no gradient.
func (t *Tape) Zeros(rows, cols int) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(rows, cols, false)
	if out != nil {
		reduce.Fill(t.dev, 0, out.Data())
	}
	return out
}

// joinVJP sums b's gradient over the heads in order.
func joinVJP(t *Tape, node *node) error {
	a, b, g := node.in[0], node.in[1], node.out.grad.mem
	n, m := a.Cols/node.heads, b.Cols
	da, db, one := t.buffer(a.Rows*a.Cols), t.buffer(b.Rows*m), t.buffer(b.Rows*m)
	if t.err != nil {
		return t.err
	}
	columns.Take(t.dev, g, n+m, 0, da.mem, n)
	for h := range node.heads {
		into := one
		if h == 0 {
			into = db
		}
		columns.Take(t.dev, g, node.out.Cols, h*(n+m)+n, into.mem, m)
		if h > 0 {
			reduce.Add(t.dev, db.mem, one.mem)
		}
	}
	t.release(one)
	t.addGrad(a, da)
	t.addGrad(b, db)
	return t.err
}

// Send is Dispatch with every row multiplied by its routing weight, for experts whose inputs
// are weighted instead of their outputs (llama4). Gather sums their outputs.
func (t *Tape) Send(x *Value, r *Routing) *Value {
	if t.err != nil {
		return nil
	}
	out, unread := t.value(r.plan.Slot.Len(), x.Cols, x.needsGrad || r.weight.needsGrad), t.buffer(r.plan.Slot.Len())
	if t.err != nil {
		return nil
	}
	reduce.Fill(t.dev, 0, out.Data())
	router.CombineBackward(t.dev, r.plan, x.Data(), out.Data(), r.weight.Data(), out.Data(), unread.mem, x.Cols)
	t.release(unread)
	if n := t.record(opSend, out, x, r.weight); n != nil {
		n.routing = r
		n.save(x.data, r.weight.data)
	}
	t.Drop(r.weight)
	return out
}

// sendVJP computes dx = Σ_k weight·dout and dweight = dout·x, which are the formulas of Combine
// and of its gradient.
func sendVJP(t *Tape, n *node) error {
	x, w, r := n.in[0], n.in[1], n.routing
	dx, dw := t.buffer(x.Rows*x.Cols), t.buffer(w.Rows*w.Cols)
	unread := t.buffer(n.out.Rows * n.out.Cols)
	if t.err != nil {
		return t.err
	}
	router.Combine(t.dev, r.plan, n.out.grad.mem, n.saved[1].mem, dx.mem, x.Cols)
	router.CombineBackward(t.dev, r.plan, n.saved[0].mem, n.out.grad.mem, n.saved[1].mem, unread.mem, dw.mem, x.Cols)
	t.release(unread)
	t.addGrad(x, dx)
	t.addGrad(w, dw)
	return t.err
}

// Gather records the sum of y's rows [T·TopK, d] per token: [T, d].
func (t *Tape) Gather(y *Value, r *Routing) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(r.params.Tokens, y.Cols, y.needsGrad)
	if out == nil {
		return nil
	}
	router.DispatchBackward(t.dev, r.plan, y.Data(), out.Data(), y.Cols)
	if n := t.record(opGather, out, y); n != nil {
		n.routing = r
	}
	return out
}

func gatherVJP(t *Tape, n *node) error {
	y := n.in[0]
	d := t.buffer(y.Rows * y.Cols)
	if d == nil {
		return t.err
	}
	router.Dispatch(t.dev, n.routing.plan, n.out.grad.mem, d.mem, y.Cols)
	t.addGrad(y, d)
	return t.err
}
