package decoder

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"dataflex/driver"
	"dataflex/kernels/rope"
	"dataflex/model/autograd"
	"dataflex/model/checkpoint"
	"dataflex/model/tensor"
)

// Options vary how a model is loaded.
type Options struct {
	// Rope replaces config.json's rope_scaling where it is not nil.
	Rope *rope.Scaling
	// MaxPositions replaces config.json's max_position_embeddings where it is not 0.
	MaxPositions int
}

// Load reads a Hugging Face model folder onto dev, every weight as float32. All
// weights are frozen. An architecture that is not supported, and tensors that are
// missing, superfluous or of another shape are errors that name them.
func Load(dev driver.Device, dir string, opt Options) (*Model, error) {
	c, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	if opt.Rope != nil {
		c.Rope = *opt.Rope
	}
	if opt.MaxPositions != 0 {
		c.MaxPositions = opt.MaxPositions
	}
	m, err := build(dev, dir, c)
	if err != nil {
		return nil, err
	}
	w, err := checkpoint.OpenWeights(dir)
	if err != nil {
		m.Close()
		return nil, err
	}
	defer w.Close()
	if err := load(w, dir, m.base()); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// build allocates a model of zeros.
func build(dev driver.Device, dir string, c Config) (*Model, error) {
	table, err := rope.NewTable(c.HeadDim, c.RopeTheta, c.Rope, c.MaxPositions)
	if err != nil {
		return nil, fmt.Errorf("%s: rope_scaling: %w", filepath.Join(dir, "config.json"), err)
	}
	b := builder{dev: dev}
	m := &Model{dev: dev, dir: dir, config: c, rope: table, tape: autograd.New(dev)}
	m.embed = b.param("model.embed_tokens.weight", c.Vocab, c.Hidden)
	for i := range c.Layers {
		m.layers = append(m.layers, b.layer(c, i))
	}
	m.norm = b.param("model.norm.weight", c.Hidden)
	m.head = m.embed
	if !c.Tied {
		m.head = b.param("lm_head.weight", c.Vocab, c.Hidden)
	}
	if b.err != nil {
		return nil, fmt.Errorf("%s: %d layers of width %d: %w", dir, c.Layers, c.Hidden, b.err)
	}
	return m, nil
}

// builder allocates parameters until the first error.
type builder struct {
	dev driver.Device
	err error
}

func (b *builder) param(name string, shape ...int) *tensor.Param {
	if b.err != nil {
		return nil
	}
	p, err := tensor.New(b.dev, name, shape...)
	b.err = err
	return p
}

func (b *builder) linear(path string, in, out int, bias bool) autograd.Linear {
	l := autograd.Linear{In: in, Out: out, Weight: b.param(path+".weight", out, in)}
	if bias {
		l.Bias = b.param(path+".bias", out)
	}
	return l
}

func (b *builder) layer(c Config, i int) layer {
	path := fmt.Sprintf("model.layers.%d.", i)
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	return layer{
		q:         b.linear(path+"self_attn.q_proj", c.Hidden, q, c.QKVBias),
		k:         b.linear(path+"self_attn.k_proj", c.Hidden, kv, c.QKVBias),
		v:         b.linear(path+"self_attn.v_proj", c.Hidden, kv, c.QKVBias),
		o:         b.linear(path+"self_attn.o_proj", q, c.Hidden, c.OutBias),
		gate:      b.linear(path+"mlp.gate_proj", c.Hidden, c.Intermediate, c.MLPBias),
		up:        b.linear(path+"mlp.up_proj", c.Hidden, c.Intermediate, c.MLPBias),
		down:      b.linear(path+"mlp.down_proj", c.Intermediate, c.Hidden, c.MLPBias),
		inputNorm: b.param(path+"input_layernorm.weight", c.Hidden),
		mlpNorm:   b.param(path+"post_attention_layernorm.weight", c.Hidden),
		window:    c.Window[i],
	}
}

// load fills params from w, which must hold them and nothing else. where names w
// in messages.
func load(w *checkpoint.Weights, where string, params []*tensor.Param) error {
	wanted := make(map[string]bool, len(params))
	var faults []error
	for _, p := range params {
		wanted[p.Name] = true
		shape, ok := w.Shape(p.Name)
		if !ok {
			faults = append(faults, fmt.Errorf("%s: tensor %q %v is missing", where, p.Name, p.Shape))
		} else if !slices.Equal(shape, p.Shape) {
			faults = append(faults, fmt.Errorf("%s: tensor %q has shape %v, the configuration asks for %v", w.Path(p.Name), p.Name, shape, p.Shape))
		}
	}
	for _, name := range w.Names() {
		if shape, _ := w.Shape(name); !wanted[name] && !derived(name) {
			faults = append(faults, fmt.Errorf("%s: tensor %q %v has no place in the model", w.Path(name), name, shape))
		}
	}
	if err := mismatch(faults); err != nil {
		return err
	}
	for _, p := range params {
		if err := w.ReadFloat32(p.Name, p.Data.Host()); err != nil {
			return err
		}
	}
	return nil
}

// derived reports whether a tensor that some writers store follows from others: the
// copy of a tied head (an untied model has lm_head among its own) and old
// transformers' rope frequencies.
func derived(name string) bool {
	return name == "lm_head.weight" || strings.HasSuffix(name, ".rotary_emb.inv_freq")
}

// mismatch makes one error of the first few faults.
func mismatch(faults []error) error {
	const shown = 3
	if len(faults) == 0 {
		return nil
	}
	err := faults[0]
	for _, f := range faults[1:min(len(faults), shown)] {
		err = fmt.Errorf("%w; %w", err, f)
	}
	if more := len(faults) - shown; more > 0 {
		err = fmt.Errorf("%w; and %d more tensors do not fit", err, more)
	}
	return err
}

// attentionScale is the usual 1/sqrt(headDim), rounded once.
func attentionScale(headDim int) float32 { return float32(1 / math.Sqrt(float64(headDim))) }
