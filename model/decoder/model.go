// Package decoder is the one causal language model of all families: from a Hugging
// Face folder to losses, gradients, per-sample gradients and back to a folder.
//
// Architecture, per layer: RMSNorm, grouped-query attention with rotary positions,
// residual; RMSNorm, SwiGLU, residual; then a final RMSNorm and a head, tied to the
// embeddings or not. What a family does differently is in families.go. Micro-batches
// are packed without padding. Linears may carry LoRA adapters.
package decoder

import (
	"fmt"
	"iter"

	"dataflex/driver"
	"dataflex/kernels/rope"
	"dataflex/model/autograd"
	"dataflex/model/tensor"
)

// Model is a decoder on a device. It is used by one goroutine at a time.
type Model struct {
	dev    driver.Device
	dir    string
	config Config

	embed, norm *tensor.Param
	head        *tensor.Param // embed when tied
	layers      []layer
	rope        *rope.Table
	adapter     *adapter // nil without one
	tape        *autograd.Tape
}

// layer is one decoder layer.
type layer struct {
	q, k, v, o, gate, up, down autograd.Linear
	inputNorm, mlpNorm         *tensor.Param
	window                     int // attention reaches that many tokens back; 0 = all
}

// module is a linear layer with its place in the model.
type module struct {
	path   string // model.layers.0.self_attn.q_proj
	linear *autograd.Linear
}

// Config is what the model was built from.
func (m *Model) Config() Config { return m.config }

// Close gives all memory back; the model must not be used afterwards.
func (m *Model) Close() {
	m.dropAdapter()
	for _, p := range m.base() {
		p.Free(m.dev)
	}
	m.tape.Close()
}

// linears yields the layer's linear modules in the order of Module.parameters().
func (l *layer) linears() [7]*autograd.Linear {
	return [7]*autograd.Linear{&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}
}

// linearNames are the paths of layer.linears inside a layer.
var linearNames = [7]string{
	"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
	"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
}

// modules yields every linear module but the head, in order.
func (m *Model) modules() iter.Seq[module] {
	return func(yield func(module) bool) {
		for i := range m.layers {
			for j, l := range m.layers[i].linears() {
				if !yield(module{fmt.Sprintf("model.layers.%d.%s", i, linearNames[j]), l}) {
					return
				}
			}
		}
	}
}

// parameters yields every tensor, adapters included, in the order of PyTorch's
// model.parameters(); a tied head once, as the embeddings.
func (m *Model) parameters() iter.Seq[*tensor.Param] {
	return func(yield func(*tensor.Param) bool) {
		all := []*tensor.Param{m.embed}
		for i := range m.layers {
			l := &m.layers[i]
			for _, lin := range l.linears() {
				all = append(all, lin.Weight)
				if lin.Bias != nil {
					all = append(all, lin.Bias)
				}
				if lin.LoRA != nil {
					all = append(all, lin.LoRA.A, lin.LoRA.B)
				}
			}
			all = append(all, l.inputNorm, l.mlpNorm)
		}
		all = append(all, m.norm)
		if m.head != m.embed {
			all = append(all, m.head)
		}
		for _, p := range all {
			if !yield(p) {
				return
			}
		}
	}
}

// base lists the model's own tensors, without adapters.
func (m *Model) base() []*tensor.Param {
	own := map[*tensor.Param]bool{}
	for mod := range m.modules() {
		if a := mod.linear.LoRA; a != nil {
			own[a.A], own[a.B] = true, true
		}
	}
	var list []*tensor.Param
	for p := range m.parameters() {
		if !own[p] {
			list = append(list, p)
		}
	}
	return list
}

// Trainable lists the parameters that train, in the order of PyTorch's
// model.parameters(): the order of the flattened gradient.
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
	for _, p := range m.base() {
		if !match(p.Name) {
			p.Freeze(m.dev)
			continue
		}
		if err := p.Train(m.dev); err != nil {
			return err
		}
	}
	m.number()
	return nil
}

// number gives every adapter its offset in the flattened trainable vector.
func (m *Model) number() {
	offset, pair := 0, 0
	at := map[*tensor.Param]int{}
	for _, p := range m.Trainable() {
		at[p] = offset
		offset += p.Size()
	}
	for mod := range m.modules() {
		if a := mod.linear.LoRA; a != nil {
			a.Pair, a.Offset = pair, at[a.A]
			pair++
		}
	}
}
