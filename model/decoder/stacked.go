package decoder

import (
	"fmt"
	"strings"

	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// view is an expert's matrix or bias inside the tensor of all experts, with its gradient.
type view struct {
	whole, part *tensor.Param
	from        int // the index of part's first element in whole
}

// follow points part to whole's current memory.
func (v view) follow() { v.part.View(v.whole, v.from) }

// stackedExperts builds experts whose matrices are stored in two tensors, gate_up and down, and
// whose biases, if any, in two more. They get no adapters of target_modules, because for PEFT they
// are no linear modules either.
func (b *builder) stackedExperts(e *mixture, path string) {
	n, hidden, width, count := b.f.experts, b.c.Hidden, b.c.MoE.Intermediate, b.c.MoE.Experts
	half := b.half && hidden%chunk == 0 && width%chunk == 0
	in, out := layout{}, layout{}
	if n.stacking != concatenatedRows {
		in, out = layout{stacked: true, interleaved: n.stacking == interleavedColumns}, layout{stacked: true}
	} else if n.gate != "" && b.stored != nil && b.stored(path+"experts.0."+n.gate+".weight", []int{width, hidden}) {
		in, out = n.pieces(path, count)
	}
	var inBias, outBias *tensor.Param
	gateUp := b.stack(half, in, path+n.allGateUp, count, 2*width, hidden)
	if n.biased {
		inBias = b.stack(false, layout{interleaved: in.interleaved}, path+n.allGateUp+"_bias", count, 2*width)
	}
	down := b.stack(half, out, path+n.allDown, count, hidden, width)
	if n.biased {
		outBias = b.stack(false, layout{}, path+n.allDown+"_bias", count, hidden)
	}
	if b.err != nil {
		return
	}
	for i := range e.all {
		x, size := &e.all[i], width*hidden
		x.gate, x.up = b.view(gateUp, 2*i*size, hidden, width), b.view(gateUp, (2*i+1)*size, hidden, width)
		x.down = b.view(down, i*size, width, hidden)
		if n.biased {
			x.gate.Bias, x.up.Bias = b.slice(inBias, 2*i*width, width), b.slice(inBias, (2*i+1)*width, width)
			x.down.Bias = b.slice(outBias, i*hidden, hidden)
		}
		e.gate, e.up, e.down = append(e.gate, &x.gate), append(e.up, &x.up), append(e.down, &x.down)
	}
}

// pieces returns the layouts of the two tensors in folders that store every expert's matrices
// separately, as transformers saves them.
func (n expertNames) pieces(path string, experts int) (in, out layout) {
	for i := range experts {
		p := fmt.Sprintf("%sexperts.%d.", path, i)
		in.pieces = append(in.pieces, p+n.gate+".weight", p+n.up+".weight")
		out.pieces = append(out.pieces, p+n.down+".weight")
	}
	return in, out
}

// stack builds the tensor of that name, which folders store in layout l.
func (b *builder) stack(half bool, l layout, name string, shape ...int) *tensor.Param {
	var p *tensor.Param
	if allocate := func() *tensor.Param { return b.tensor(half, name, shape...) }; l.plain() {
		p = allocate()
	} else {
		p = b.laid(l, allocate)
	}
	if p != nil {
		module := name[:strings.LastIndexByte(name, '.')]
		b.parts = append(b.parts, part{path: module, param: p, zero: len(shape) == 2})
	}
	return p
}

// view returns a linear layer whose weight [out, in] starts at element from of whole.
func (b *builder) view(whole *tensor.Param, from, in, out int) autograd.Linear {
	v := view{whole, &tensor.Param{Name: whole.Name, Shape: []int{out, in}}, from}
	v.follow()
	b.views = append(b.views, v)
	return autograd.Linear{In: in, Out: out, Weight: v.part}
}

// slice returns the n biases that start at element from of whole.
func (b *builder) slice(whole *tensor.Param, from, n int) *tensor.Param {
	v := view{whole, &tensor.Param{Name: whole.Name, Shape: []int{n}}, from}
	v.follow()
	b.views = append(b.views, v)
	return v.part
}
