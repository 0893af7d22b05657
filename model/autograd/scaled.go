package autograd

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/router"
	"dataflex.dev/dataflex/model/tensor"
)

// Scaled records s·x in x's memory. x must not be used afterwards.
func (t *Tape) Scaled(x *Value, s float32) *Value {
	if t.err != nil {
		return nil
	}
	data := x.Data()
	if t.err != nil {
		return nil
	}
	reduce.Scale(t.dev, s, data)
	out := t.alias(x.Rows, x.Cols, x.needsGrad, x.data)
	x.data = nil
	t.drop(x)
	if n := t.record(opScaled, out, x); n != nil {
		n.scale = s
	}
	return out
}

// scaledVJP scales the gradient in place.
func scaledVJP(t *Tape, n *node) error {
	if t.ownGrad(n.out); t.err != nil {
		return t.err
	}
	reduce.Scale(t.dev, n.scale, n.out.grad.mem)
	n.out.grad.refs++
	t.addGrad(n.in[0], n.out.grad)
	return t.err
}

// WeighExperts multiplies every routing weight of r by its expert's factor, s [Experts].
func (t *Tape) WeighExperts(r *Routing, s *tensor.Param) {
	if t.err != nil {
		return
	}
	w := r.weight
	out := t.value(w.Rows, w.Cols, w.needsGrad || s.Trainable())
	factor, unread := t.buffer(w.Rows*w.Cols), t.buffer(w.Rows*w.Cols)
	choice, each := t.choices(r), t.each(r)
	if t.err != nil {
		return
	}
	embed.Forward(t.dev, s.Data, choice, factor.mem, 1)
	// CombineBackward, with every weight as a token of its own, computes the elementwise
	// product.
	router.CombineBackward(t.dev, each.plan, w.Data(), factor.mem, factor.mem, out.Data(), unread.mem, 1)
	if n := t.record(opWeigh, out, w); n != nil {
		n.routing, n.weight = r, s
		n.save(w.data, factor)
	}
	t.release(each.numbers)
	t.release(factor)
	t.release(unread)
	t.Drop(w)
	r.weight = out
}

// each returns a routing in which every routing weight of r is a token of its own, sent to the
// only expert. Its numbers are to be released.
func (t *Tape) each(r *Routing) *Routing {
	p := router.Params{Tokens: r.choice.Len(), Experts: 1, TopK: 1}
	one := &Routing{numbers: t.buffer(p.Tokens + p.PlanSize())}
	if t.err != nil {
		return one
	}
	t.clear(one.numbers)
	numbers := one.numbers.ints()
	one.plan = router.Group(t.dev, p, numbers.Sub(0, p.Tokens), numbers.Sub(p.Tokens, numbers.Len()))
	return one
}

// choices returns the experts that r has chosen [T·TopK], on the host.
func (t *Tape) choices(r *Routing) []int32 {
	choice, err := driver.Read(t.dev, r.choice)
	if err != nil {
		t.fail(fmt.Errorf("the choices of experts: %w", err))
	}
	return choice
}

// weighVJP computes dw = factor·dout and dfactor = w·dout.
func weighVJP(t *Tape, n *node) error {
	w, r, size := n.in[0], n.routing, n.out.Rows*n.out.Cols
	dw, df := t.buffer(size), t.buffer(size)
	choice, each := t.choices(r), t.each(r)
	if t.err != nil {
		return t.err
	}
	router.CombineBackward(t.dev, each.plan, n.out.grad.mem, n.saved[0].mem, n.saved[1].mem, dw.mem, df.mem, 1)
	if n.weight.Trainable() {
		embed.Backward(t.dev, df.mem, choice, n.weight.Grad, 1)
	}
	t.release(each.numbers)
	t.release(df)
	t.addGrad(w, dw)
	return t.err
}
