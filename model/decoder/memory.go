package decoder

import (
	"dataflex.dev/dataflex/kernels/xent"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// Budget is the memory of training with one micro-batch shape, in bytes.
type Budget struct {
	Weights     uint64 // the model's own tensors
	Adapters    uint64 // LoRA's A and B
	Gradients   uint64 // of everything trainable
	Optimizer   uint64 // what the optimizer keeps; Memory does not know it
	Activations uint64 // kept from forward to backward, and the working set
	Head        uint64 // the logits that exist at once
}

// Total is the sum.
func (b Budget) Total() uint64 {
	return b.Weights + b.Adapters + b.Gradients + b.Optimizer + b.Activations + b.Head
}

// Memory plans a training step over micro-batches of that many tokens, labelled of
// which have a target, with what trains now; the optimizer's memory is not in it.
func (m *Model) Memory(tokens, labelled int) Budget {
	var b Budget
	for p := range m.parameters() {
		b.Weights += uint64(p.Bytes())
		if p.Trainable() {
			b.Gradients += 4 * uint64(p.Size())
		}
	}
	for _, p := range m.PairOffsets() {
		b.Adapters += 4 * uint64(p.Rank*(p.In+p.Out))
	}
	b.Weights -= b.Adapters
	b.Activations = 4 * uint64(tokens) * uint64(m.keptPerToken()+m.workingPerToken())
	p := xent.Params{Rows: tokens, Hidden: m.config.Hidden, Vocab: m.config.Vocab}
	b.Head = uint64(p.Workspace(m.dev, m.tape.BF16, labelled))
	return b
}

// keptPerToken counts the floats per token that VJPs read: the saves of autograd's
// ops, layer by layer from the lowest trainable parameter up.
func (m *Model) keptPerToken() int {
	k := kept{wants: m.embed.Trainable()}
	for i := range m.layers {
		m.keptByLayer(&k, &m.layers[i])
	}
	return k.floats
}

// kept is a count of floats per token, and whether gradients are wanted so far up.
type kept struct {
	floats int
	wants  bool
}

func (k *kept) keep(floats int) {
	if k.wants {
		k.floats += floats
	}
}

// norm keeps its input of width x, in groups of len(w); a norm that is not there
// keeps nothing.
func (k *kept) norm(w *tensor.Param, x int) {
	if w != nil {
		k.wants = k.wants || w.Trainable()
		k.keep(x + x/w.Size())
	}
}

// linears counts what l keep of their common input x, of which there are times rows a
// token. It is free if it can be computed again or some VJP keeps it anyway.
func (k *kept) linears(free bool, times, x int, l ...*autograd.Linear) {
	trains, rank := false, 0
	for _, lin := range l {
		if lin.LoRA != nil {
			rank += lin.LoRA.Rank
			if lin.LoRA.DoRA != nil {
				k.floats += times * lin.Out
			}
		}
		trains = trains || lin.LoRA != nil || lin.Weight.Trainable()
		k.wants = k.wants || lin.Bias.Trainable()
	}
	k.floats += times * rank
	if trains && !free {
		k.floats += times * x
	}
	k.wants = k.wants || trains
}

func (m *Model) keptByLayer(k *kept, l *layer) {
	c := &m.config
	k.norm(l.norms[beforeAttention], c.Hidden)
	free := k.wants && l.norms[beforeAttention] != nil
	if m.family.fusedQKV {
		k.linears(free, 1, c.Hidden, &l.qkv)
	} else {
		k.linears(free, 1, c.Hidden, &l.q, &l.k, &l.v)
	}
	k.norm(l.qNorm, c.Heads*c.HeadDim)
	k.norm(l.kNorm, c.KVHeads*c.HeadDim)
	qkv := (c.Heads + 2*c.KVHeads) * c.HeadDim
	if m.tape.BF16 {
		qkv /= 2
	}
	k.keep(qkv + c.Heads*c.HeadDim + c.Heads)
	k.linears(k.wants, 1, c.Heads*c.HeadDim, &l.o)
	k.norm(l.norms[afterAttention], c.Hidden)
	k.norm(l.norms[beforeMLP], c.Hidden)
	free = k.wants && l.norms[beforeMLP] != nil
	if e := l.experts; e == nil {
		m.keptByMLP(k, &l.mlp, free, c.Intermediate)
	} else {
		m.keptByExperts(k, e, free)
	}
	k.norm(l.norms[afterMLP], c.Hidden)
}

func (m *Model) keptByMLP(k *kept, l *mlp, free bool, width int) {
	if m.family.fusedGateUp {
		k.linears(free, 1, m.config.Hidden, &l.gateUp)
	} else {
		k.linears(free, 1, m.config.Hidden, &l.gate, &l.up)
	}
	k.keep(2 * width)
	k.linears(k.wants, 1, width, &l.down)
}

// keptByExperts takes the first expert for all: a token visits TopK of them.
func (m *Model) keptByExperts(k *kept, e *experts, free bool) {
	c := &m.config.MoE
	k.linears(free, 1, m.config.Hidden, &e.router)
	k.floats += c.Experts
	k.keep(c.TopK)
	k.linears(free, c.TopK, m.config.Hidden, e.gate[0], e.up[0])
	k.keep(2 * c.TopK * c.Intermediate)
	k.linears(k.wants, c.TopK, c.Intermediate, e.down[0])
	k.keep(c.TopK * m.config.Hidden)
	if c.Shared > 0 {
		m.keptByMLP(k, &e.shared, free, c.Shared)
		k.linears(free, 1, m.config.Hidden, &e.sharedGate)
		k.keep(m.config.Hidden + 1)
	}
}

// workingPerToken counts the floats per token that a pass takes beside what it
// keeps: the MLP's and attention's intermediates and gradients, whose buffers are
// not exchanged because they differ in size, the residual's, an adapter's v, and
// single columns: attention's lse, a norm's rstd, a bias's ones, the loss.
func (m *Model) workingPerToken() int {
	c := &m.config
	qkv := (c.Heads + c.KVHeads) * c.HeadDim
	widest, input, rows := c.Intermediate, c.Hidden, 0 // rows of the experts' inputs and outputs
	if c.Sparse != nil {
		widest = max(widest, c.MoE.TopK*c.MoE.Intermediate, c.MoE.Shared)
		input += c.MoE.TopK * c.Hidden
		rows = 3*c.MoE.TopK*c.Hidden + c.Hidden + 2*c.MoE.Experts + 2*c.MoE.TopK
		if c.MoE.Shared > 0 {
			rows += 3*c.MoE.Shared + c.Hidden
		}
	}
	branch, rank := 3*widest, 0
	if m.family.fusedGateUp {
		branch += 2 * widest
	}
	if m.family.fusedQKV {
		qkv += c.Heads*c.HeadDim + 2*c.KVHeads*c.HeadDim
	}
	if m.adapter != nil { // with dropout, the masked input and its gradient too
		if rank = m.adapter.lora.Rank * max(1, c.MoE.TopK); m.adapter.lora.Dropout > 0 {
			branch += widest + 2*input
		}
		if m.adapter.lora.DoRA {
			branch += 2 * widest
		}
	}
	n := branch + rows + 4*c.Hidden + 2*qkv + rank + c.Heads + 3
	if m.half {
		n += m.narrowedPerToken(widest)
	}
	return n
}

// narrowedPerToken is the bf16 operands of products in floats: what linears of each
// width read and, in the backward pass, the gradients that they read, attention's
// operands, and an adapter's u and v.
func (m *Model) narrowedPerToken(widest int) int {
	c := &m.config
	n := c.Hidden + widest + (c.Heads+c.KVHeads)*c.HeadDim
	if m.family.fusedQKV {
		n += (c.Heads + 2*c.KVHeads) * c.HeadDim
	}
	if m.family.fusedGateUp {
		n += widest
	}
	if m.adapter != nil {
		n += m.adapter.lora.Rank + chunk
	}
	return n / 2 // their buffers are free again when the next layer asks
}
