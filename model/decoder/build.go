package decoder

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// layer is one decoder layer. What its family does not have is nil or empty.
type layer struct {
	q, k, v, qkv, o autograd.Linear
	qNorm, kNorm    norm
	mlp             mlp
	experts         *experts // in the place of mlp
	norms           [roles]norm
	window          int         // attention reaches that many tokens back; 0 = all
	rope            *rope.Table // nil: its queries and keys are not turned
}

// norm is a norm's parameters; there is none without a weight.
type norm struct {
	weight, bias  *tensor.Param // bias nil: nothing is added
	width, groups int           // the weight is [groups, width]: rows of width elements take turns with its rows
}

// mlp is a gated MLP, down(act(gate(x))·up(x)), or one without a gate, down(act(up(x))).
type mlp struct {
	gate, up, gateUp, down autograd.Linear
}

// experts is a mixture of experts.
type experts struct {
	router         autograd.Linear // [Experts, Hidden]
	all            []mlp           // whose layers gate, up and down list
	gate, up, down []*autograd.Linear
	shared         mlp
	sharedGate     autograd.Linear // [1, Hidden]
	choiceBias     *tensor.Param   // [Experts], nil: the router's scores are softmaxed
}

// part is a leaf of the module tree: a linear layer, or a tensor by itself.
type part struct {
	path   string // model.layers.0.self_attn.q_proj
	linear *autograd.Linear
	param  *tensor.Param   // where linear is nil
	fixed  bool            // a buffer, which nothing trains
	zero   bool            // a bias, which Init leaves 0
	ones   bool            // a norm's weights in several rows, which Init makes 1
	own    []*tensor.Param // an adapter's on the embeddings, or tokens'
}

// forms says how a model's tensors are kept.
type forms struct {
	half    bool                                           // matrices are bf16 on a device that multiplies it in units of its own
	stored  func(name string, shape []int) bool            // whether a tensor lies in the folder's files with that shape; where it does not, nothing is allocated: what reads the weights refuses the folder
	codes   func(name string) (f quant.Format, coded bool) // a linear's weight; nil: none is in codes
	bf16    bool                                           // the folder's embeddings are bf16, and stay so where nothing is multiplied with them
	planned bool                                           // nothing is held: no model is too large
}

// build allocates a model of zeros.
func build(dev driver.Device, dir string, c Config, how forms) (*Model, error) {
	if what := families[c.ModelType].hostOnly(); what != "" && dev.Kind() != driver.CPU {
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
	b := builder{dev: dev, c: c, f: families[c.ModelType], forms: how}
	m := &Model{dev: dev, dir: dir, config: c, rows: c.Vocab, family: b.f, rope: global, tape: autograd.New(dev)}
	m.origin.dir = dir
	m.embed = b.embeddings(how.bf16 && !c.Tied)
	if b.f.learned {
		m.positions = b.param(b.f.named().positions, c.MaxPositions, c.Hidden)
	}
	m.queryRope = global
	if c.QueryGrowth.Beta > 0 {
		if m.queryRope, err = queryTable(c, global); err != nil {
			return nil, fmt.Errorf("%s: rope_parameters: %w", filepath.Join(dir, "config.json"), err)
		}
	}
	m.layers = make([]layer, c.Layers) // not appended to: parts point into it
	for i := range m.layers {
		m.layers[i].window, m.layers[i].rope = c.Window[i], global
		if c.Window[i] > 0 {
			m.layers[i].rope = local
		}
		if b.f.learned || i < len(c.NoRope) && c.NoRope[i] {
			m.layers[i].rope = nil
		}
		b.layer(&m.layers[i], i)
	}
	names := b.f.named()
	m.norm = b.norm(names.norm, c.Hidden)
	m.embedding = autograd.Embedding{Scale: c.EmbedScale, HasFixed: c.Padding.Given, Fixed: c.Padding.ID}
	m.head.Linear = autograd.Linear{In: c.Hidden, Out: c.Vocab, Weight: m.embed}
	if !c.Tied {
		m.head.Weight = b.param(m.tables().Head, c.Vocab, c.Hidden)
	}
	if b.f.headBias {
		m.head.Bias = b.bias(m.tables().Head, c.Vocab)
	}
	m.parts, m.half, m.ones, m.views, m.layouts = b.parts, b.any, b.ones, b.views, b.layouts
	m.tape.BF16 = m.half && c.HeadDim%chunk == 0 && c.AttentionScale > 0
	if b.err != nil {
		m.Close()
		return nil, fmt.Errorf("%s: %d layers of width %d: %w", dir, c.Layers, c.Hidden, b.err)
	}
	return m, nil
}

// tables are the angles of layers that see everything, and of those with a window.
func tables(c Config) (global, local *rope.Table, err error) {
	if global, err = rope.NewTable(c.rotary(), c.RopeTheta, c.Rope, c.MaxPositions); err != nil {
		return nil, nil, err
	}
	local = global
	if c.RopeLocalBase > 0 {
		local, err = rope.NewTable(c.rotary(), c.RopeLocalBase, rope.Scaling{}, c.MaxPositions)
	}
	global.Interleaved, global.Backwards = families[c.ModelType].interleaved, families[c.ModelType].backwards
	return global, local, err
}

// queryTable is global for queries that grow by position.
func queryTable(c Config, global *rope.Table) (*rope.Table, error) {
	if c.rotary() != c.HeadDim {
		return nil, errors.New("llama_4_scaling_beta with a partial_rotary_factor below 1 is not supported")
	}
	if !global.Fixed() {
		return nil, fmt.Errorf("llama_4_scaling_beta with rope_type %s is not supported", c.Rope.Type)
	}
	t, err := rope.NewTable(c.rotary(), c.RopeTheta, c.Rope, c.MaxPositions)
	if err == nil {
		t.Interleaved, t.Backwards, t.Growth = global.Interleaved, global.Backwards, c.QueryGrowth
	}
	return t, err
}

// builder allocates parameters until the first error, and lists them in the order in
// which PyTorch's modules register them.
type builder struct {
	dev driver.Device
	c   Config
	f   family
	forms
	any   bool // a matrix is bf16
	parts []part
	bytes float64
	err   error
	ones  map[int]*tensor.Param // by width
	views []view

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
	return b.allocated(float64(size)*elements, name, shape, func() (*tensor.Param, error) { return allocate(b.dev, name, shape...) })
}

// allocated is the parameter that allocate makes in so many bytes. Where a folder does not
// have it with that shape nothing is allocated: what reads the weights refuses the folder.
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
				return tensor.NewCoded(b.dev, f, half, name, out, in)
			})
		}
	}
	return b.tensor(half, name, out, in)
}

// room refuses a model that is larger than the device's memory before it fills it.
func (b *builder) room(size float64) error {
	b.bytes += size
	if most := b.dev.Attributes().MemoryBytes; most > 0 && b.bytes > float64(most) && !b.planned {
		return fmt.Errorf("the weights alone need more than %.1f GiB, the device has %.1f: choose a smaller model, or check config.json's sizes", b.bytes/(1<<30), float64(most)/(1<<30))
	}
	return nil
}

// chunk is the 16 bytes on which rows of bf16 matrices begin, in elements. A linear's
// input and output, whose products take both as rows, are float32 where they are not
// multiples of it.
const chunk = 8

func (b *builder) param(path string, shape ...int) *tensor.Param {
	// A head with a bias has no bf16 kernel.
	half := b.half && len(shape) == 2 && shape[1]%chunk == 0 && !b.f.headBias
	p := b.tensor(half, path+".weight", shape...)
	if p != nil {
		b.parts = append(b.parts, part{path: path, param: p})
	}
	return p
}

// embeddings are float32, or as param makes them; with bf16, which loses nothing, half of that.
func (b *builder) embeddings(bf16 bool) *tensor.Param {
	path := checkpoint.TablesOf(b.c.ModelType).Embedding
	if !bf16 || b.half || b.c.Hidden%chunk != 0 {
		return b.param(path, b.c.Vocab, b.c.Hidden)
	}
	name, shape := path+".weight", []int{b.c.Vocab, b.c.Hidden}
	p := b.allocated(2*float64(b.c.Vocab)*float64(b.c.Hidden), name, shape, func() (*tensor.Param, error) { return tensor.NewBF16(b.dev, name, shape...) })
	if p != nil {
		b.parts = append(b.parts, part{path: path, param: p})
	}
	return p
}

// norm is a norm: parameters, or ones that no one trains, saves or lists.
func (b *builder) norm(path string, width int) norm {
	if !b.f.bareNorms {
		n := norm{weight: b.param(path, width), width: width, groups: 1}
		if b.f.normBias {
			n.bias = b.bias(path, width)
		}
		return n
	}
	if p := b.ones[width]; p != nil || b.err != nil {
		return norm{weight: p, width: width, groups: 1}
	}
	p, err := tensor.New(b.dev, "ones", width)
	if err == nil {
		err = p.Upload(b.dev, slices.Repeat([]float32{1}, width))
	}
	if b.err = err; b.ones == nil {
		b.ones = map[int]*tensor.Param{}
	}
	b.ones[width] = p
	return norm{weight: p, width: width, groups: 1}
}

// bias is what a module that is no linear layer adds.
func (b *builder) bias(path string, width int) *tensor.Param {
	p := b.tensor(false, path+".bias", width)
	if p != nil {
		b.parts = append(b.parts, part{path: path, param: p, zero: true})
	}
	return p
}

// headNorm is a norm of heads that have weights of their own.
func (b *builder) headNorm(path string, heads int) norm {
	width := b.c.HeadDim
	n := norm{width: width, groups: heads}
	if b.f.headNorms == ownWeights {
		n.weight = b.tensor(false, path+".weight", heads, width)
	} else {
		var l layout
		for i := range heads {
			l.pieces = append(l.pieces, fmt.Sprintf("%s.norms.%d.weight", path, i))
		}
		n.weight = b.laid(l, func() *tensor.Param { return b.tensor(false, path+".norms.weight", heads, width) })
	}
	if n.weight != nil {
		b.parts = append(b.parts, part{path: path, param: n.weight, ones: true})
	}
	return n
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

func (b *builder) layer(l *layer, i int) {
	names := b.f.named()
	path := fmt.Sprintf("%s.%d.", names.layers, i)
	attention := func() { b.attention(l, path+names.attention+".") }
	feedForward := func() {
		if b.c.sparse(i) {
			l.experts = &experts{}
			b.experts(l.experts, path+b.f.experts.block+".")
		} else {
			b.mlp(&l.mlp, path+names.mlp+".", b.c.Intermediate)
		}
	}
	norms := func(of ...role) {
		for _, n := range b.f.normsOf(&b.c) {
			if len(of) == 0 || n.role == of[0] {
				l.norms[n.role] = b.norm(path+n.name, b.c.Hidden)
			}
		}
	}
	switch b.f.order {
	case normsLast:
		attention()
		feedForward()
		norms()
	case normsFirst:
		norms()
		attention()
		feedForward()
	case normsBefore:
		norms(beforeAttention)
		attention()
		norms(beforeMLP)
		feedForward()
	}
}

func (b *builder) attention(l *layer, path string) {
	c := b.c
	q, kv, names := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, b.f.named()
	out := func() { b.linear(&l.o, path+names.o, q, c.Hidden, c.OutBias) }
	all := func() { b.linear(&l.qkv, path+names.qkv, c.Hidden, q+2*kv, c.QKVBias) }
	switch {
	case b.f.fusedQKV && b.f.modules.qkv == "": // phi3
		out()
		all()
	case b.f.fusedQKV:
		all()
		out()
	default:
		b.linear(&l.q, path+names.q, c.Hidden, q, c.QKVBias)
		b.linear(&l.k, path+names.k, c.Hidden, kv, c.QKVBias)
		b.linear(&l.v, path+names.v, c.Hidden, kv, c.QKVBias)
		out()
	}
	if b.f.chosenNorms && !c.QKNorm {
		return
	}
	qNorm, kNorm := path+cmp.Or(b.f.qNorm, "q_norm"), path+cmp.Or(b.f.kNorm, "k_norm")
	switch b.f.headNorms {
	case perHead:
		l.qNorm, l.kNorm = b.norm(qNorm, c.HeadDim), b.norm(kNorm, c.HeadDim)
	case fullWidth:
		l.qNorm, l.kNorm = b.norm(qNorm, q), b.norm(kNorm, kv)
	case ownWeights, ownModules:
		l.qNorm, l.kNorm = b.headNorm(qNorm, c.Heads), b.headNorm(kNorm, c.KVHeads)
	}
}

func (b *builder) mlp(m *mlp, path string, width int) {
	c := b.c
	if p := b.f.plainMLP; p.up != "" {
		b.linear(&m.up, path+p.up, c.Hidden, width, c.MLPBias)
		b.linear(&m.down, path+p.down, width, c.Hidden, c.MLPBias)
		return
	}
	if b.f.fusedGateUp {
		b.linear(&m.gateUp, path+"gate_up_proj", c.Hidden, 2*width, c.MLPBias)
	} else {
		b.linear(&m.gate, path+"gate_proj", c.Hidden, width, c.MLPBias)
		b.linear(&m.up, path+"up_proj", c.Hidden, width, c.MLPBias)
	}
	b.linear(&m.down, path+"down_proj", width, c.Hidden, c.MLPBias)
}

func (b *builder) experts(e *experts, path string) {
	n, c := b.f.experts, b.c
	if n.allGateUp != "" {
		b.stackedExperts(e, path)
		return
	}
	// Which experts a token goes to hangs on small differences: float32, or what upstream
	// quantises it to.
	b.linearOf(&e.router, path+cmp.Or(n.router, "gate"), c.Hidden, c.MoE.Experts, false, false)
	e.all = make([]mlp, c.MoE.Experts)
	for i := range e.all {
		x, p := &e.all[i], fmt.Sprintf("%sexperts.%d.", path, i)
		b.linear(&x.gate, p+n.gate, c.Hidden, c.MoE.Intermediate, false)
		if n.downSecond {
			b.linear(&x.down, p+n.down, c.MoE.Intermediate, c.Hidden, false)
			b.linear(&x.up, p+n.up, c.Hidden, c.MoE.Intermediate, false)
		} else {
			b.linear(&x.up, p+n.up, c.Hidden, c.MoE.Intermediate, false)
			b.linear(&x.down, p+n.down, c.MoE.Intermediate, c.Hidden, false)
		}
		e.gate, e.up, e.down = append(e.gate, &x.gate), append(e.up, &x.up), append(e.down, &x.down)
	}
	if b.f.choiceBias != "" {
		if e.choiceBias = b.tensor(false, path+b.f.choiceBias, c.MoE.Experts); e.choiceBias != nil {
			b.parts = append(b.parts, part{path: path + b.f.choiceBias, param: e.choiceBias, fixed: true})
		}
	}
	if c.MoE.Shared > 0 {
		b.mlp(&e.shared, path+"shared_expert.", c.MoE.Shared)
		b.linear(&e.sharedGate, path+"shared_expert_gate", c.Hidden, 1, false)
	}
}
