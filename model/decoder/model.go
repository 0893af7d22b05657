// Package decoder implements one causal language model for all families: from a Hugging Face
// folder to losses, gradients, per-sample gradients and back to a folder.
//
// Architecture, per layer: RMSNorm, grouped-query attention with rotary positions, residual;
// RMSNorm, a gated MLP or a mixture of such experts, residual; then a final RMSNorm and a
// head, tied to the embeddings or not. Differences of a family, such as LayerNorm, an MLP
// without a gate, parallel branches, learned positions, are a row in family.go.
// Micro-batches are packed without padding. Linears may have LoRA adapters.
package decoder

import (
	"fmt"
	"iter"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// Model is a decoder on a device. It is used by one goroutine at a time.
type Model struct {
	dev    driver.Device
	dir    string
	name   string // Options.Name
	config Config

	family family

	embed     *tensor.Param
	positions *tensor.Param // added to the embeddings; nil: none
	norm      norm
	embedding autograd.Embedding // reads rows of embed, before noise
	head      autograd.Head      // its weight is embed when tied
	layers    []layer
	inputs    *layerInputs          // nil: layers have none of their own
	parts     []part                // all of these, in order
	ones      map[int]*tensor.Param // of norms without weights, by width
	rope      *rope.Table
	views     []view // of stacked experts
	layouts   map[*tensor.Param]layout
	decoded   map[*tensor.Param]string // the formats of parameters decoded from a folder's codes
	adapter   *adapter                 // nil without one
	tape      *autograd.Tape
	notes     []string
	options   Options                   // with which it was loaded
	special   *checkpoint.SpecialTokens // of the tokenizer; nil = unknown
	rows      int                       // of the vocabulary in the folder's config.json
	tiedThere bool                      // the folder's head is tied to its embeddings
	half      bool                      // matrices are bf16, products run on tensor cores
	origin    origin
	unmerged  string // the folder of an adapter that was merged except for its part on the towers; "" = none

	checkpointed bool            // layers are recomputed in the backward pass
	follower     Follower        // of backward passes; nil: none
	shards       *shardedWeights // nil: all weights are here
}

// module is a linear layer with its place in the model.
type module struct {
	path   string // model.layers.0.self_attn.q_proj
	linear *autograd.Linear
}

// Config returns the configuration from which the model was built.
func (m *Model) Config() Config { return m.config }

// BF16 reports whether some matrices are stored in bf16 and multiplied on tensor cores.
func (m *Model) BF16() bool { return m.half }

// Parameters counts the elements of every tensor, adapters included.
func (m *Model) Parameters() int {
	n := 0
	for p := range m.parameters() {
		n += p.Size()
	}
	return n
}

// SetSpecialTokens sets the tokenizer's special tokens, with which config.json and
// generation_config.json are saved.
func (m *Model) SetSpecialTokens(t checkpoint.SpecialTokens) { m.special = &t }

// Close frees all memory; the model must not be used afterwards.
func (m *Model) Close() {
	m.dropAdapter()
	for _, p := range m.base() {
		p.Free(m.dev)
	}
	for _, p := range m.ones {
		if p != nil {
			p.Free(m.dev)
		}
	}
	m.tape.Close()
	if m.shards != nil {
		m.shards.close()
	}
}

// modules yields every linear module except the head, in order.
func (m *Model) modules() iter.Seq[module] {
	return func(yield func(module) bool) {
		for _, p := range m.parts {
			if p.linear != nil && !yield(module{p.path, p.linear}) {
				return
			}
		}
	}
}

// parameters yields every tensor, adapters included, in the order of PyTorch's
// model.parameters(); a tied head once, as the embeddings.
func (m *Model) parameters() iter.Seq[*tensor.Param] {
	return func(yield func(*tensor.Param) bool) {
		for _, p := range m.parts {
			for _, t := range p.tensors() {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// tensors are those of the part, including its adapter's.
func (p part) tensors() []*tensor.Param {
	l := p.linear
	if l == nil {
		return append([]*tensor.Param{p.param}, p.own...)
	}
	list := []*tensor.Param{l.Weight}
	if l.Bias != nil {
		list = append(list, l.Bias)
	}
	if l.LoRA != nil {
		list = append(list, adapterTensors(l.LoRA)...)
	}
	return list
}

// base lists the model's own tensors, without adapters.
func (m *Model) base() []*tensor.Param {
	own := m.adapterTensors()
	var list []*tensor.Param
	for p := range m.parameters() {
		if !own[p] {
			list = append(list, p)
		}
	}
	return list
}

// Trainable lists the trainable parameters, in the order of PyTorch's model.parameters():
// the order of the flattened gradient.
func (m *Model) Trainable() []*tensor.Param {
	var list []*tensor.Param
	for p := range m.parameters() {
		if p.Trainable() {
			list = append(list, p)
		}
	}
	return list
}

// TrainAll makes every tensor of the model trainable (full fine-tuning).
func (m *Model) TrainAll() error { return m.Train(func(string) bool { return true }) }

// Train makes exactly the model's own tensors trainable whose name match accepts
// (freeze tuning). Adapters, if any, keep training.
func (m *Model) Train(match func(name string) bool) error {
	fixed := map[*tensor.Param]bool{}
	for _, part := range m.parts {
		fixed[part.param] = part.fixed
	}
	for _, p := range m.base() {
		if fixed[p] || !match(p.Name) {
			p.Freeze(m.dev)
			continue
		}
		if err := m.train(p); err != nil {
			return err
		}
	}
	for _, v := range m.views {
		v.follow()
	}
	m.number()
	return nil
}

// train makes a tensor trainable, unless it was decoded.
func (m *Model) train(p *tensor.Param) error {
	if format, decoded := m.decoded[p]; decoded {
		return fmt.Errorf("training %s: its weights are quantised in %s (%s), and stay as they are: take the model in bf16, fp16 or float32", p.Name, m.dir, format)
	}
	return m.accumulate(p)
}

// accumulate makes a tensor trainable, with a gradient of its own unless gradients are placed.
func (m *Model) accumulate(p *tensor.Param) error {
	if m.options.Placed {
		return p.TrainPlaced(m.dev)
	}
	return p.Train(m.dev)
}

// number gives every adapter its offset in the flattened trainable vector.
func (m *Model) number() {
	offset, pair := 0, 0
	at := map[*tensor.Param]int{}
	for _, p := range m.Trainable() {
		at[p] = offset
		offset += p.Size()
	}
	if m.adapter == nil {
		return
	}
	m.tape.Adapters = nil
	for _, mod := range m.adapter.modules {
		a := mod.linear.LoRA
		a.Pair, a.Offset = pair, at[a.A]
		pair++
		m.tape.Adapters = append(m.tape.Adapters, mod.linear)
	}
}
