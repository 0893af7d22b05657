package decoder

import (
	"fmt"
	"strings"

	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// expertsAdapter is a frozen LoRA on a tensor that holds a matrix of every expert, which
// PEFT names in target_parameters: A is [Experts·r, a], one expert's r rows after the
// other's, and B is [b, r·Experts], in which the experts take turns (peft 0.21,
// tuners/lora/layer.py, ParamWrapper).
type expertsAdapter struct {
	key    string               // of the parameter in transformers 5: model.layers.0.mlp.experts.gate_up_proj
	parts  [][]*autograd.Linear // gate and up, or down: each of all experts
	inTurn bool                 // rows of gate and up alternate
	rank   int
	scale  float32
	turned bool          // B·A of an expert is [in, out], not [out, in]
	a, b   *tensor.Param // as the file has them
}

// expertTensors lists the tensors of experts that transformers 5 has, in its order within
// each mixture, as adapters could be on them.
func (m *Model) expertTensors() (list [][]expertsAdapter) {
	for i := range m.layers {
		path := fmt.Sprintf("%s.%d.", m.family.named().layers, i)
		var e *mixture
		switch f := m.layers[i].feed.(type) {
		case *mixture:
			e = f
			block := m.family.experts.block
			if block == mixtralExperts.block && m.family.experts.allGateUp == "" {
				block = qwenExperts.block // which transformers 5 calls it in all families but granitemoe
			}
			path += block + "."
		case *mixtureBeside:
			e = f.experts
		default:
			continue
		}
		inTurn := m.family.experts.stacking == columnsInTurn
		list = append(list, []expertsAdapter{
			{key: path + "experts.gate_up_proj", parts: [][]*autograd.Linear{e.gate, e.up}, inTurn: inTurn},
			{key: path + "experts.down_proj", parts: [][]*autograd.Linear{e.down}},
		})
	}
	return list
}

// onExperts finds the tensors of experts that target_parameters names.
func (m *Model) onExperts(dir string, c *checkpoint.AdapterConfig) (on []*expertsAdapter, err error) {
	if len(c.TargetParameters) == 0 {
		return nil, nil
	}
	used := map[string]bool{}
	for _, tensors := range m.expertTensors() {
		var found []*expertsAdapter
		for _, x := range tensors {
			hit := false
			for _, target := range c.TargetParameters {
				if ends(x.key, target) {
					used[target], hit = true, true
				}
			}
			if hit {
				found = append(found, &x)
			}
		}
		on = append(on, found...)
	}
	for _, target := range c.TargetParameters {
		if !used[target] {
			return nil, fmt.Errorf("%s: target_parameters has %q, which names no tensor of experts of %s, and adapters on other parameters are not supported: merge the adapter into its base model with PEFT (merge_and_unload)", dir, target, m.dir)
		}
	}
	return on, nil
}

// size is the length of the outputs of the tensor's matrices, gate's and up's together.
func (x *expertsAdapter) size() (in, out int) {
	first := x.parts[0][0]
	return first.In, first.Out * len(x.parts)
}

// attachExperts adds the adapters to the experts' layers, with factors of zeros that
// startExperts fills.
func (m *Model) attachExperts(on []*expertsAdapter, c *checkpoint.AdapterConfig, w *checkpoint.Weights) error {
	for _, x := range on {
		in, out := x.size()
		x.rank, x.scale = c.RankOf(x.key), float32(c.ScaleOf(x.key))
		name := prefix + x.key[:strings.LastIndexByte(x.key, '.')]
		if inner := name + ".base_layer"; len(x.parts) > 1 { // which is wrapped before down
			if _, ok := w.Shape(inner + ".lora_A.weight"); ok {
				name = inner
			}
		}
		x.turned = transposed(m.family.experts.stacking, c.SwapsParameters())
		if shape, ok := w.Shape(name + ".lora_A.weight"); ok && in != out && len(shape) == 2 {
			x.turned = shape[1] == out
		}
		if err := m.attachTo(x, name); err != nil {
			return err
		}
	}
	return nil
}

// attachTo adds one of them, whose tensors' names begin with name.
func (m *Model) attachTo(x *expertsAdapter, name string) (err error) {
	in, out := x.size()
	width, height := in, out
	if x.turned {
		width, height = out, in
	}
	n := len(x.parts[0])
	if x.a, err = tensor.New(m.dev, name+".lora_A.weight", n*x.rank, width); err != nil {
		return err
	}
	if x.b, err = tensor.New(m.dev, name+".lora_B.weight", height, x.rank*n); err != nil {
		return err
	}
	m.adapter.experts = append(m.adapter.experts, x)
	for _, part := range x.parts {
		for _, l := range part {
			a, err := tensor.New(m.dev, x.a.Name, x.rank, in)
			if err != nil {
				return err
			}
			b, err := tensor.New(m.dev, x.b.Name, l.Out, x.rank)
			if err != nil {
				return err
			}
			l.LoRA = &autograd.LoRA{A: a, B: b, Rank: x.rank, Scale: x.scale}
		}
	}
	return nil
}

// transposed reports whether B·A of an expert is [in, out]. PEFT takes the last two sizes of
// the tensor for [out, in] since 0.19, and for [in, out] before and where transformers says
// so, which it does of gpt_oss.
func transposed(stored stacking, swapped bool) bool {
	switch stored {
	case rowsApart:
		return !swapped
	case columnsApart:
		return swapped
	}
	return false
}

// startExperts gives every expert its part of the factors that were read.
func (m *Model) startExperts() error {
	for _, x := range m.adapter.experts {
		a, err := x.a.Read(m.dev)
		if err != nil {
			return err
		}
		b, err := x.b.Read(m.dev)
		if err != nil {
			return err
		}
		for e := range x.parts[0] {
			down, up := x.factorsOf(e, a, b)
			for i, part := range x.parts {
				l := part[e].LoRA
				if err := l.A.Upload(m.dev, down); err != nil {
					return err
				}
				if err := l.B.Upload(m.dev, x.rowsOf(i, up)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// factorsOf are A [r, in] and B [out, r] of an expert.
func (x *expertsAdapter) factorsOf(e int, a, b []float32) (down, up []float32) {
	n, r := len(x.parts[0]), x.rank
	width, height := x.a.Shape[1], x.b.Shape[0]
	down = append(down, a[e*r*width:(e+1)*r*width]...)
	for row := range height {
		for k := range r {
			up = append(up, b[(row*r+k)*n+e])
		}
	}
	if x.turned {
		return checkpoint.Transposed(up, height, r), checkpoint.Transposed(down, r, width)
	}
	return down, up
}

// rowsOf are the rows of B of gate (part 0) or up (1), or all.
func (x *expertsAdapter) rowsOf(part int, b []float32) []float32 {
	if x.inTurn && len(x.parts) > 1 {
		b = takeApart(b, x.rank)
	}
	n := len(b) / len(x.parts)
	return b[part*n : (part+1)*n]
}

// expertLayers are the layers of experts that carry an adapter of target_parameters.
func (a *adapter) expertLayers() (list []*autograd.Linear) {
	for _, x := range a.experts {
		for _, part := range x.parts {
			list = append(list, part...)
		}
	}
	return list
}

// dropExperts removes the adapters of experts, if any.
func (m *Model) dropExperts() {
	for _, l := range m.adapter.expertLayers() {
		if a := l.LoRA; a != nil {
			a.A.Free(m.dev)
			a.B.Free(m.dev)
			l.LoRA = nil
		}
	}
	for _, x := range m.adapter.experts {
		x.a.Free(m.dev)
		x.b.Free(m.dev)
	}
}

// Continues reports why the adapter that was loaded cannot be trained further, or nil: gate
// and up of an expert share a factor in target_parameters, and would not after a step.
func (m *Model) Continues() error {
	if m.adapter != nil && len(m.adapter.experts) > 0 {
		return fmt.Errorf("%s: adapters of experts in one tensor (target_parameters) are merged and not trained further: create_new_adapter: true merges it and trains a new one, and export writes the merged model", m.adapter.dir)
	}
	return nil
}
