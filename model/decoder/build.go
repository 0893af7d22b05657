package decoder

import (
	"fmt"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// part is a leaf of the module tree: a linear layer, or a single tensor.
type part struct {
	path   string // model.layers.0.self_attn.q_proj
	linear *autograd.Linear
	param  *tensor.Param                // if linear is nil
	fixed  bool                         // a buffer, which is not trained
	zero   bool                         // a bias, or w of a norm of 1+w, which Init sets to 0
	start  func(normal float64) float64 // Init's function of draws from N(0, 1); nil: the default
	ones   bool                         // a norm's weights in several rows, which Init sets to 1
	own    []*tensor.Param              // of an adapter on the embeddings, or of rows of tokens
}

// forms is how a model's tensors are stored.
type forms struct {
	half    bool                                           // matrices are bf16 on a device with units for it
	stored  func(name string, shape []int) bool            // whether a tensor is in the folder's files with that shape; if not, nothing is allocated, and reading the weights reports the error
	codes   func(name string) (f quant.Format, coded bool) // the format of a linear's weight in codes; nil: none is in codes
	bf16    bool                                           // the folder's embeddings are bf16, and stay so if they are not multiplied
	planned bool                                           // no memory is needed: no model is too large
	shards  *Shards                                        // nil: all weights are here
}

// build allocates a model of zeros.
func build(dev driver.Device, dir string, c Config, how forms) (*Model, error) {
	if what := families[c.ModelType].hostOnly(&c); what != "" && dev.Kind() != driver.CPU {
		return nil, fmt.Errorf("%s: model_type %q needs %s, which has no kernel for --device %v: take --device cpu", filepath.Join(dir, "config.json"), c.ModelType, what, dev.Kind())
	}
	if c.Rope.Type != "" && families[c.ModelType].learned {
		return nil, fmt.Errorf("%s: model_type %q has learned positions, which rope_scaling cannot stretch: leave it out, and keep cutoff_len within %d", filepath.Join(dir, "config.json"), c.ModelType, c.MaxPositions)
	}
	global, local, err := tables(c)
	if err != nil {
		return nil, fmt.Errorf("%s: rope_scaling: %w", filepath.Join(dir, "config.json"), err)
	}
	how.half = how.half && dev.Attributes().BF16
	b := builder{dev: dev, c: c, f: families[c.ModelType].within(c.Multimodal), forms: how}
	m := &Model{dev: dev, dir: dir, config: c, rows: c.Vocab, tiedThere: c.Tied, family: b.f, rope: global, tape: autograd.New(dev)}
	m.origin.from(dir)
	if how.shards == nil {
		b.memory = dev
	}
	m.embed = b.embeddings(how.bf16 && !c.Tied)
	if b.f.learned {
		m.positions = b.param(b.f.named().positions, c.MaxPositions, c.Hidden)
	}
	if err := b.rotaries(global, local); err != nil {
		return nil, fmt.Errorf("%s: rope_parameters: %w", filepath.Join(dir, "config.json"), err)
	}
	m.layers = make([]layer, c.Layers)
	for i := range m.layers {
		b.layer(&m.layers[i], i)
	}
	names := b.f.named()
	m.norm = b.norm(names.norm, c.Hidden)
	m.inputs = b.layerInputs()
	m.embedding = autograd.Embedding{Scale: c.EmbedScale, HasFixed: c.Padding.Given, Fixed: c.Padding.ID}
	m.head.Linear = autograd.Linear{In: c.Hidden, Out: c.Vocab, Weight: m.embed}
	if !c.Tied {
		m.head.Weight = b.param(m.tables().Head, c.Vocab, c.Hidden)
	}
	if b.f.biasedHead(&c) {
		m.head.Bias = b.bias(m.tables().Head, c.Vocab)
	}
	m.parts, m.half, m.ones, m.views, m.layouts = b.parts, b.any, b.ones, b.views, b.layouts
	m.tape.BF16 = m.half && !slices.ContainsFunc(m.layers, func(l layer) bool { return !l.mixer.narrows(dev.Kind()) })
	m.tape.Half = m.half && dev.Kind() != driver.CPU
	if b.err == nil && how.shards != nil {
		b.err = m.shard(*how.shards)
	}
	if b.err != nil {
		m.Close()
		return nil, fmt.Errorf("%s: %d layers of width %d: %w", dir, c.Layers, c.Hidden, b.err)
	}
	return m, nil
}

// builder allocates parameters until the first error, and lists them in the order in which
// PyTorch's modules register them.
type builder struct {
	dev driver.Device
	// memory is what parameters take their memory from: dev, or nil where they get it later.
	memory driver.Device
	c      Config
	f      family
	forms
	any   bool // some matrix is bf16
	parts []part
	bytes float64
	err   error
	ones  map[int]*tensor.Param // by width
	views []view

	global, local rotary  // of layers without a window, and of those with one
	growing       *angles // of queries in layers without rotation; nil: they do not grow

	layouts map[*tensor.Param]layout
}

func (b *builder) tensor(half bool, name string, shape ...int) *tensor.Param {
	size, allocate := 4, tensor.New
	if half {
		size, allocate, b.any = 2, tensor.NewBF16, true
	}
	elements := 1.0
	for _, d := range shape {
		elements *= float64(d)
	}
	return b.allocated(float64(size)*elements, name, shape, func() (*tensor.Param, error) { return allocate(b.memory, name, shape...) })
}

// allocated returns the parameter that allocate makes in that many bytes. If the folder does
// not have it with that shape nothing is allocated: reading the weights reports the error.
func (b *builder) allocated(bytes float64, name string, shape []int, allocate func() (*tensor.Param, error)) *tensor.Param {
	if b.err != nil {
		return nil
	}
	if b.stored != nil && !b.stored(name, shape) {
		return &tensor.Param{Name: name, Shape: shape}
	}
	if b.err = b.room(bytes); b.err != nil {
		return nil
	}
	p, err := allocate()
	b.err = err
	return p
}

// matrix is a linear's weight: in codes, or as tensor makes it.
func (b *builder) matrix(half bool, name string, out, in int) *tensor.Param {
	if b.codes != nil {
		if f, coded := b.codes(name); coded {
			b.any = b.any || half
			return b.allocated(float64(f.Bytes(out, in)), name, []int{out, in}, func() (*tensor.Param, error) {
				return tensor.NewCoded(b.memory, f, half, name, out, in)
			})
		}
	}
	return b.tensor(half, name, out, in)
}

// room refuses a model that is larger than the device's memory before memory is allocated.
func (b *builder) room(size float64) error {
	if b.shards != nil {
		size /= float64(b.shards.Of)
	}
	b.bytes += size
	if most := b.dev.Attributes().MemoryBytes; most > 0 && b.bytes > float64(most) && !b.planned {
		return fmt.Errorf("the weights alone need more than %.1f GiB, the device has %.1f: choose a smaller model, or check config.json's sizes", b.bytes/(1<<30), float64(most)/(1<<30))
	}
	return nil
}

// chunk is the alignment of the rows of bf16 matrices, 16 bytes, in elements. If a linear's
// input or output, both of which are rows in products, is not a multiple of it, the linear
// is float32.
const chunk = 8

func (b *builder) param(path string, shape ...int) *tensor.Param {
	// A head with a bias has no bf16 kernel.
	half := b.half && len(shape) == 2 && shape[1]%chunk == 0 && !b.f.biasedHead(&b.c)
	p := b.tensor(half, path+".weight", shape...)
	if p != nil {
		b.parts = append(b.parts, part{path: path, param: p})
	}
	return p
}

// embeddings allocates float32 embeddings, or as param does; with bf16, which loses nothing,
// half of that.
func (b *builder) embeddings(bf16 bool) *tensor.Param {
	path := b.c.tables().Embedding
	if !bf16 || b.half || b.c.Hidden%chunk != 0 {
		return b.param(path, b.c.Vocab, b.c.Hidden)
	}
	name, shape := path+".weight", []int{b.c.Vocab, b.c.Hidden}
	p := b.allocated(2*float64(b.c.Vocab)*float64(b.c.Hidden), name, shape, func() (*tensor.Param, error) { return tensor.NewBF16(b.memory, name, shape...) })
	if p != nil {
		b.parts = append(b.parts, part{path: path, param: p})
	}
	return p
}

func (b *builder) linear(l *autograd.Linear, path string, in, out int, bias bool) {
	b.linearOf(l, path, in, out, bias, b.half && in%chunk == 0 && out%chunk == 0)
}

func (b *builder) linearOf(l *autograd.Linear, path string, in, out int, bias, half bool) {
	weight := func() *tensor.Param { return b.matrix(half, path+".weight", out, in) }
	if checkpoint.Conv1D(b.c.ModelType, path) {
		*l = autograd.Linear{In: in, Out: out, Weight: b.laid(layout{transposed: true}, weight)}
	} else {
		*l = autograd.Linear{In: in, Out: out, Weight: weight()}
	}
	if bias {
		l.Bias = b.tensor(false, path+".bias", out)
	}
	if b.err == nil {
		b.parts = append(b.parts, part{path: path, linear: l})
	}
}
