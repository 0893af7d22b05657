package decoder

import (
	"dataflex/kernels/xent"
	"dataflex/model/autograd"
)

// Budget is the memory of training with one micro-batch shape, in bytes.
type Budget struct {
	Weights     uint64 // the model's own tensors
	Adapters    uint64 // LoRA's A and B
	Gradients   uint64 // of everything trainable
	Optimizer   uint64 // AdamW's two moments of everything trainable
	Activations uint64 // kept from forward to backward, and the working set
	Head        uint64 // the logits that exist at once
}

// Total is the sum.
func (b Budget) Total() uint64 {
	return b.Weights + b.Adapters + b.Gradients + b.Optimizer + b.Activations + b.Head
}

// Memory plans a training step over micro-batches of that many tokens, labelled of
// which have a target, with what trains now.
func (m *Model) Memory(tokens, labelled int) Budget {
	var b Budget
	for p := range m.parameters() {
		b.Weights += 4 * uint64(p.Size())
		if p.Trainable() {
			b.Gradients += 4 * uint64(p.Size())
		}
	}
	for _, p := range m.PairOffsets() {
		b.Adapters += 4 * uint64(p.Rank*(p.In+p.Out))
	}
	b.Weights -= b.Adapters
	b.Optimizer = 2 * b.Gradients
	b.Activations = 4 * uint64(tokens) * uint64(m.keptPerToken()+m.workingPerToken())
	p := xent.Params{Rows: tokens, Hidden: m.config.Hidden, Vocab: m.config.Vocab}
	b.Head = uint64(p.Workspace(labelled))
	return b
}

// keptPerToken counts the floats per token that VJPs read: the saves of autograd's
// ops, layer by layer from the lowest trainable parameter up.
func (m *Model) keptPerToken() int {
	c := &m.config
	wants := m.embed.Trainable()
	kept := 0
	// linears counts what l keep of their common input x, which is free if some VJP
	// keeps it anyway or it can be computed again.
	linears := func(free bool, x int, l ...*autograd.Linear) {
		trains := false
		for _, lin := range l {
			if lin.LoRA != nil {
				kept += lin.LoRA.Rank
			}
			trains = trains || lin.LoRA != nil || lin.Weight.Trainable()
			wants = wants || lin.Bias.Trainable()
		}
		if trains && !free {
			kept += x
		}
		wants = wants || trains
	}
	keep := func(floats int) {
		if wants {
			kept += floats
		}
	}
	for i := range m.layers {
		l := &m.layers[i]
		wants = wants || l.inputNorm.Trainable()
		keep(c.Hidden + 1)
		linears(wants, c.Hidden, &l.q, &l.k, &l.v)
		keep(2*(c.Heads+c.KVHeads)*c.HeadDim + c.Heads)
		linears(wants, c.Heads*c.HeadDim, &l.o)
		wants = wants || l.mlpNorm.Trainable()
		keep(c.Hidden + 1)
		linears(wants, c.Hidden, &l.gate, &l.up)
		keep(2 * c.Intermediate)
		linears(wants, c.Intermediate, &l.down)
	}
	return kept
}

// workingPerToken counts the floats per token that a pass takes beside what it
// keeps: the MLP's and attention's intermediates and gradients, whose buffers are
// not exchanged because they differ in size, the residual's, an adapter's v, and
// single columns: attention's lse, a norm's rstd, a bias's ones, the loss.
func (m *Model) workingPerToken() int {
	c := &m.config
	mlp, rank := 3*c.Intermediate, 0 // with dropout, the masked input and its gradient too
	if m.adapter != nil {
		if rank = m.adapter.lora.Rank; m.adapter.lora.Dropout > 0 {
			mlp += c.Intermediate + 2*c.Hidden
		}
	}
	return mlp + 4*c.Hidden + 2*(c.Heads+c.KVHeads)*c.HeadDim + rank + c.Heads + 3
}
