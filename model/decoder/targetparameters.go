package decoder

import (
	"fmt"
	"strings"

	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// expertsAdapter is a frozen LoRA on a tensor that holds one matrix per expert, which PEFT
// names in target_parameters. A is [Experts·r, a], with the r rows of one expert after those of
// another; B is [b, r·Experts], whose columns alternate between the experts (peft 0.21,
// tuners/lora/layer.py, ParamWrapper).
type expertsAdapter struct {
	key         string               // the parameter's name in transformers 5: model.layers.0.mlp.experts.gate_up_proj
	parts       [][]*autograd.Linear // gate and up, or down: for each, the layers of all experts
	interleaved bool                 // the rows of gate and up alternate
	rank        int
	scale       float32
	transposed  bool          // B·A of an expert is [in, out] instead of [out, in]
	a, b        *tensor.Param // as in the adapter's file
}

// expertTensors lists the tensors of experts that adapters could be on, per mixture in the
// order of transformers 5.
func (m *Model) expertTensors() (list [][]expertsAdapter) {
	for i := range m.layers {
		path := fmt.Sprintf("%s.%d.", m.family.named().layers, i)
		var e *mixture
		switch f := m.layers[i].feed.(type) {
		case *mixture:
			e = f
			block := m.family.experts.block
			if block == mixtralExperts.block && m.family.experts.allGateUp == "" {
				block = qwenExperts.block // the name in transformers 5 of all families but granitemoe
			}
			path += block + "."
		case *mixtureBeside:
			e = f.experts
		default:
			continue
		}
		interleaved := m.family.experts.stacking == interleavedColumns
		list = append(list, []expertsAdapter{
			{key: path + "experts.gate_up_proj", parts: [][]*autograd.Linear{e.gate, e.up}, interleaved: interleaved},
			{key: path + "experts.down_proj", parts: [][]*autograd.Linear{e.down}},
		})
	}
	return list
}

// onExperts returns the tensors of experts that target_parameters names.
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

// size returns the shape of an expert's matrix, with gate's and up's outputs together.
func (x *expertsAdapter) size() (in, out int) {
	first := x.parts[0][0]
	return first.In, first.Out * len(x.parts)
}

// attachExperts adds the adapters to the experts' layers. Their factors are zeros until
// startExperts fills them.
func (m *Model) attachExperts(on []*expertsAdapter, c *checkpoint.AdapterConfig, w *checkpoint.Weights) error {
	for _, x := range on {
		in, out := x.size()
		x.rank, x.scale = c.RankOf(x.key), float32(c.ScaleOf(x.key))
		name := prefix + x.key[:strings.LastIndexByte(x.key, '.')]
		if inner := name + ".base_layer"; len(x.parts) > 1 { // PEFT wraps gate_up before down
			if _, ok := w.Shape(inner + ".lora_A.weight"); ok {
				name = inner
			}
		}
		x.transposed = transposed(m.family.experts.stacking, c.SwapsParameters())
		if shape, ok := w.Shape(name + ".lora_A.weight"); ok && in != out && len(shape) == 2 {
			x.transposed = shape[1] == out
		}
		if err := m.attachTo(x, name); err != nil {
			return err
		}
	}
	return nil
}

// attachTo adds one adapter, whose tensors' names begin with name.
func (m *Model) attachTo(x *expertsAdapter, name string) (err error) {
	in, out := x.size()
	width, height := in, out
	if x.transposed {
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

// transposed reports whether B·A of an expert is [in, out]. PEFT reads the last two sizes of
// the tensor as [out, in] since 0.19. Before, and for models that transformers marks as
// transposed (gpt_oss), it reads them as [in, out].
func transposed(stored stacking, swapped bool) bool {
	switch stored {
	case concatenatedRows:
		return !swapped
	case concatenatedColumns:
		return swapped
	}
	return false
}

// startExperts copies every expert's part of the factors that were read into its layer.
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

// factorsOf returns A [r, in] and B [out, r] of expert e.
func (x *expertsAdapter) factorsOf(e int, a, b []float32) (down, up []float32) {
	n, r := len(x.parts[0]), x.rank
	width, height := x.a.Shape[1], x.b.Shape[0]
	down = append(down, a[e*r*width:(e+1)*r*width]...)
	for row := range height {
		for k := range r {
			up = append(up, b[(row*r+k)*n+e])
		}
	}
	if x.transposed {
		return checkpoint.Transposed(up, height, r), checkpoint.Transposed(down, r, width)
	}
	return down, up
}

// rowsOf returns the rows of B that belong to gate (part 0) or up (part 1), or all rows of a
// tensor with one part.
func (x *expertsAdapter) rowsOf(part int, b []float32) []float32 {
	if x.interleaved && len(x.parts) > 1 {
		b = deinterleaved(b, x.rank)
	}
	n := len(b) / len(x.parts)
	return b[part*n : (part+1)*n]
}

// expertLayers returns the layers of experts with an adapter of target_parameters.
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

// Continues returns an error if the loaded adapter cannot be trained further: in
// target_parameters gate and up of an expert share the factor A, and separate layers would not
// keep it shared.
func (m *Model) Continues() error {
	if m.adapter != nil && len(m.adapter.experts) > 0 {
		return fmt.Errorf("%s: adapters of experts in one tensor (target_parameters) are merged and not trained further: create_new_adapter: true merges it and trains a new one, and export writes the merged model", m.adapter.dir)
	}
	return nil
}
