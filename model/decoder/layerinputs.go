package decoder

import (
	"math"

	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/tensor"
)

// layerInputs are inputs that every layer has in addition to the residual stream: rows of a
// table, by token, plus a projection of the embeddings, [T, Layers·PerLayerInput] (gemma4's
// per-layer embeddings: transformers 5, modeling_gemma4.py).
type layerInputs struct {
	table      *tensor.Param   // [PerLayerVocab, Layers·PerLayerInput]
	projection autograd.Linear // [Layers·PerLayerInput, Hidden]
	norm       norm            // of each layer's part
}

// layerInput adds the layer's part of layerInputs to the residual: x + norm(out(act(gate(x)) ·
// input)).
type layerInput struct {
	gate, out autograd.Linear
	norm      norm
}

// layerInputs builds what the layers share; nil if the family has no such inputs.
func (b *builder) layerInputs() *layerInputs {
	c := &b.c
	if c.PerLayerInput == 0 {
		return nil
	}
	path, all := b.f.root(), c.Layers*c.PerLayerInput
	l := &layerInputs{table: b.param(path+"embed_tokens_per_layer", c.PerLayerVocab, all)}
	b.linear(&l.projection, path+"per_layer_model_projection", c.Hidden, all, false)
	l.norm = b.norm(path+"per_layer_projection_norm", c.PerLayerInput)
	return l
}

// layerInput builds one layer's part.
func (b *builder) layerInput(path string) *layerInput {
	c := &b.c
	if c.PerLayerInput == 0 {
		return nil
	}
	l := &layerInput{}
	b.linear(&l.gate, path+"per_layer_input_gate", c.Hidden, c.PerLayerInput, false)
	b.linear(&l.out, path+"per_layer_projection", c.PerLayerInput, c.Hidden, false)
	l.norm = b.norm(path+"post_per_layer_input_norm", c.Hidden)
	return l
}

// inputsOf records the inputs of all layers from x, the embeddings of b's tokens; nil if the
// family has none.
func (m *Model) inputsOf(x *autograd.Value, b *Batch) *autograd.Value {
	if m.inputs == nil {
		return nil
	}
	l, t, c := m.inputs, m.tape, &m.config
	p := t.Scaled(t.Linear(x, &l.projection), float32(1/math.Sqrt(float64(c.Hidden))))
	e := autograd.Embedding{Scale: float32(math.Sqrt(float64(c.PerLayerInput))), HasFixed: c.Padding.Given, Fixed: c.Padding.ID}
	sum := t.Residual(m.normed(p, l.norm), t.Embed(l.table, b.Tokens, e), 0)
	return t.Scaled(sum, float32(math.Sqrt(0.5)))
}

// add records x with layer i's part of inputs added.
func (l *layerInput) add(m *Model, i int, x, inputs *autograd.Value) *autograd.Value {
	t, width := m.tape, m.config.PerLayerInput
	gate, own := t.Linear(x, &l.gate), t.Columns(inputs, i*width, width)
	s := t.SwiGLUFor(&l.out, swiglu.GELUTanh, gate, own)
	t.Drop(gate, own)
	y := t.Linear(s, &l.out)
	t.Drop(s)
	return m.residual(x, y, l.norm)
}

// layerScale builds the factor of a layer's output, which is a buffer and never trained.
func (b *builder) layerScale(path string) *tensor.Param {
	if !b.f.layerScales {
		return nil
	}
	p := b.tensor(false, path+"layer_scalar", 1)
	if p != nil {
		b.parts = append(b.parts, part{path: path + "layer_scalar", param: p, fixed: true, ones: true})
	}
	return p
}

// readScales reads the layers' factors into layer.scale, so that a factor of 1 can be skipped.
func (m *Model) readScales() error {
	for i := range m.layers {
		if p := m.layers[i].factor; p != nil {
			x, err := p.Read(m.dev)
			if err != nil {
				return err
			}
			m.layers[i].scale = x[0]
		}
	}
	return nil
}
