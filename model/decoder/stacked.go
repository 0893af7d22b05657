package decoder

import (
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// view is a matrix that lies in a tensor of several, with its gradient.
type view struct {
	whole, part *tensor.Param
	from        int // elements of whole before it
}

// follow makes the part see the memory that the whole has now.
func (v view) follow() { v.part.View(v.whole, v.from) }

// stackedExperts are experts whose matrices lie in two tensors. No adapter goes on them,
// as they are no linear modules for PEFT either.
func (b *builder) stackedExperts(e *mixture, path string) {
	n, hidden, width := b.f.experts, b.c.Hidden, b.c.MoE.Intermediate
	half := b.half && hidden%chunk == 0 && width%chunk == 0
	gateUp := b.stack(half, path+n.allGateUp, b.c.MoE.Experts, 2*width, hidden)
	down := b.stack(half, path+n.allDown, b.c.MoE.Experts, hidden, width)
	b.linearOf(&e.router, path+n.router, hidden, b.c.MoE.Experts, false, false)
	if b.err != nil {
		return
	}
	e.all = make([]expert, b.c.MoE.Experts)
	for i := range e.all {
		x, size := &e.all[i], width*hidden
		x.gate, x.up = b.view(gateUp, 2*i*size, hidden, width), b.view(gateUp, (2*i+1)*size, hidden, width)
		x.down = b.view(down, i*size, width, hidden)
		e.gate, e.up, e.down = append(e.gate, &x.gate), append(e.up, &x.up), append(e.down, &x.down)
	}
}

func (b *builder) stack(half bool, path string, shape ...int) *tensor.Param {
	p := b.tensor(half, path+".weight", shape...)
	if p != nil {
		b.parts = append(b.parts, part{path: path, param: p})
	}
	return p
}

// view is a linear layer whose weight begins after so many elements of whole.
func (b *builder) view(whole *tensor.Param, from, in, out int) autograd.Linear {
	v := view{whole, &tensor.Param{Name: whole.Name, Shape: []int{out, in}}, from}
	v.follow()
	b.views = append(b.views, v)
	return autograd.Linear{In: in, Out: out, Weight: v.part}
}
