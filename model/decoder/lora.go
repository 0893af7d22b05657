package decoder

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// LoRA configures new adapters.
type LoRA struct {
	Rank    int
	Alpha   float64                  // the adapter's output is scaled by Alpha/Rank
	Dropout float64                  // of the adapter's input while training
	RSLoRA  bool                     // scale by Alpha/sqrt(Rank) instead
	DoRA    bool                     // outputs are scaled by trained magnitudes: autograd.DoRA
	PiSSA   string                   // initialise with the principal parts of the weights, which are subtracted from them; PEFT's name of the method: pissa, pissa_niter_16; "": A random, B zero
	Targets []string                 // module names or ends of their paths, including embed_tokens and lm_head; "all" = every linear layer but lm_head
	Exclude func(module string) bool // reports which modules get no adapter although Targets names them; nil = none

	// ModulesToSave are modules that are trained in full and stored with the adapter
	// (additional_target), named by any end of their paths: embed_tokens, lm_head, norm (every
	// norm), mlp. A tied head becomes a separate parameter if it or the embeddings are among
	// them.
	ModulesToSave []string
	TieWeights    bool // PEFT's ensure_weight_tying: the head stays tied to the embeddings
}

// Pair is the position of one adapter's A in the vector of all trained parameters; B follows.
type Pair struct {
	Name          string // model.layers.0.self_attn.q_proj
	Offset        int
	In, Out, Rank int
}

// adapter describes the model's current adapters.
type adapter struct {
	lora    LoRA
	modules []module                    // linear modules with an adapter, in order; the head is the last
	tokens  []tokenTable                // tables of which single rows are trained
	saves   map[*tensor.Param]bool      // the parameters of ModulesToSave
	start   map[*tensor.Param][]float32 // A and B as initialised by PiSSA
	read    *checkpoint.AdapterConfig   // the adapter_config.json that LoadAdapter read; nil otherwise
	dir     string                      // the folder that LoadAdapter read
	content string                      // hash of its files
	towers  []checkpoint.Tensor         // the adapter's tensors for the towers of a multimodal model
	experts []*expertsAdapter           // adapters of target_parameters
}

// prefix is the path from PEFT's wrapper to the model's modules.
const prefix = checkpoint.PEFTPrefix

func (l LoRA) scale() float32 {
	if l.RSLoRA {
		return float32(l.Alpha / math.Sqrt(float64(l.Rank)))
	}
	return float32(l.Alpha / float64(l.Rank))
}

func (l LoRA) validate() error {
	switch {
	case l.Rank < 1:
		return fmt.Errorf("lora rank %d must be at least 1", l.Rank)
	case l.Dropout < 0 || l.Dropout >= 1:
		return fmt.Errorf("lora dropout %g must be in [0, 1)", l.Dropout)
	case len(l.Targets) == 0:
		return fmt.Errorf("no lora targets")
	}
	return nil
}

// AddLoRA freezes the model and adds new adapters. A is uniform in ±1/sqrt(in), from uniform,
// which draws from [0, 1); B is zero; DoRA's magnitudes are the norms of the weights' rows.
// With PiSSA, A and B are the weights' principal parts. Existing adapters are removed: Merge
// them first to keep them.
func (m *Model) AddLoRA(l LoRA, uniform func() float64) error {
	if err := l.validate(); err != nil {
		return err
	}
	on, err := m.match(l)
	if err != nil {
		return err
	}
	if err := m.attach(l, on, func(string) (int, float32) { return l.Rank, l.scale() }); err != nil {
		return err
	}
	if err := m.startEmbedding(uniform); err != nil {
		return err
	}
	if l.PiSSA != "" {
		if err := m.startPiSSA(); err != nil {
			return err
		}
	} else if err := m.startUniform(uniform); err != nil {
		return err
	}
	return m.startMagnitudes()
}

func (m *Model) startUniform(uniform func() float64) error {
	for _, mod := range m.adapter.modules {
		bound := 1 / math.Sqrt(float64(mod.linear.In))
		a := make([]float32, mod.linear.LoRA.A.Size())
		for i := range a {
			a[i] = float32((2*uniform() - 1) * bound)
		}
		if err := mod.linear.LoRA.A.Upload(m.dev, a); err != nil {
			return err
		}
	}
	return nil
}

// startMagnitudes initialises DoRA's magnitudes with the norms of the adapted weights' rows.
func (m *Model) startMagnitudes() error {
	for _, mod := range m.adapter.modules {
		d := mod.linear.LoRA.DoRA
		if d == nil {
			continue
		}
		norms, err := mod.linear.AdaptedNorms(m.dev)
		if err == nil {
			err = d.Magnitude.Upload(m.dev, norms)
		}
		if err != nil {
			return fmt.Errorf("magnitudes of %s: %w", mod.path, err)
		}
	}
	return m.startColumnMagnitudes()
}

// Merge adds the adapters to the weights, W += s·B A, and removes them; trained rows are copied
// into their tables. After an error (no memory for a bf16 weight in float32) only some have
// been merged.
func (m *Model) Merge() error {
	if m.adapter == nil {
		return nil
	}
	if m.Quantised() {
		return fmt.Errorf("cannot merge adapters to a quantized model: it stays as it is. Merge them into the model in bf16, fp16 or float32, without quantization_bit")
	}
	for _, mod := range m.adapter.modules {
		if err := mod.linear.MergeLoRA(m.dev); err != nil {
			return fmt.Errorf("merging the adapter of %s: %w", mod.path, err)
		}
	}
	for _, l := range m.adapter.expertLayers() {
		if err := l.MergeLoRA(m.dev); err != nil {
			return fmt.Errorf("merging the adapter of experts, %s: %w", l.LoRA.A.Name, err)
		}
	}
	if err := m.mergeTables(); err != nil {
		return err
	}
	if len(m.adapter.towers) > 0 {
		m.unmerged = m.adapter.dir
	}
	m.origin.note("merged adapter %s", cmp.Or(m.adapter.content, "made here"))
	m.dropAdapter()
	return nil
}

// attach freezes the model and adds adapters of zeros to the modules on, with the rank and
// scale that shape returns.
func (m *Model) attach(l LoRA, on targets, shape func(path string) (rank int, scale float32)) error {
	m.dropAdapter()
	for _, p := range m.base() {
		p.Freeze(m.dev)
	}
	saves, err := m.trainInFull(l.ModulesToSave, l.TieWeights)
	if err != nil {
		return err
	}
	for _, v := range m.views {
		v.follow()
	}
	m.adapter = &adapter{lora: l, modules: on.modules, saves: saves}
	for _, mod := range on.modules {
		rank, scale := shape(mod.path)
		if err := m.adapt(mod, l, rank, scale); err != nil {
			return err
		}
	}
	if err := m.attachTables(l, on, shape); err != nil {
		return err
	}
	m.number()
	return nil
}

// adapt adds an adapter of zeros to a module.
func (m *Model) adapt(mod module, l LoRA, rank int, scale float32) error {
	lin, form := mod.linear, tensor.New
	if lin.Weight.Narrows() && rank%chunk == 0 {
		form = tensor.NewNarrowed // not in every pass
	}
	a, err := m.trained(form, prefix+mod.path+".lora_A.weight", rank, lin.In)
	if err != nil {
		return err
	}
	b, err := m.trained(form, prefix+mod.path+".lora_B.weight", lin.Out, rank)
	if err != nil {
		return err
	}
	lin.LoRA = &autograd.LoRA{A: a, B: b, Rank: rank, Scale: scale, Dropout: float32(l.Dropout)}
	if !l.DoRA {
		return nil
	}
	magnitude, err := m.trained(tensor.New, prefix+mod.path+".lora_magnitude_vector", lin.Out)
	if err != nil {
		return err
	}
	lin.LoRA.DoRA = &autograd.DoRA{Magnitude: magnitude}
	return nil
}

// trainInFull makes the tensors of the named modules trainable.
func (m *Model) trainInFull(names []string, tie bool) (map[*tensor.Param]bool, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if tie && m.tied() {
		names = slices.Clone(names)
		for i, n := range names {
			if partOf(m.tables().Head, n) {
				names[i] = m.tables().Embedding // a tied head is the embeddings
			}
		}
	} else if slices.ContainsFunc(names, func(n string) bool { return partOf(m.tables().Embedding, n) || partOf(m.tables().Head, n) }) {
		if err := m.untie(); err != nil {
			return nil, err
		}
	}
	saves := map[*tensor.Param]bool{}
	for _, name := range names {
		hit := false
		for _, p := range m.parts {
			if !partOf(p.path, name) {
				continue
			}
			hit = true
			for _, t := range p.tensors() {
				if err := m.train(t); err != nil {
					return nil, err
				}
				saves[t] = true
			}
		}
		if !hit {
			return nil, fmt.Errorf("additional target %q matches no module of %s", name, m.dir)
		}
	}
	return saves, nil
}

// partOf reports whether name names the module at path or a module that contains it, as PEFT
// reads modules_to_save: any end of a module's path names it, so norm is every norm and mlp all
// linear layers of every MLP (peft 0.18, utils/other.py, _set_trainable).
func partOf(path, name string) bool {
	for {
		if strings.HasSuffix(path, name) {
			return true
		}
		dot := strings.LastIndexByte(path, '.')
		if dot < 0 {
			return false
		}
		path = path[:dot]
	}
}

// ends reports whether name is path or its end after a dot.
func ends(path, name string) bool { return path == name || strings.HasSuffix(path, "."+name) }

// trained returns a trainable parameter of zeros: form is tensor.New or tensor.NewNarrowed.
func (m *Model) trained(form func(dev driver.Device, name string, shape ...int) (*tensor.Param, error), name string, shape ...int) (*tensor.Param, error) {
	p, err := form(m.dev, name, shape...)
	if err != nil {
		return nil, err
	}
	return p, m.accumulate(p)
}

// dropAdapter removes the adapters, if any.
func (m *Model) dropAdapter() {
	if m.adapter == nil {
		return
	}
	for _, mod := range m.adapter.modules {
		if a := mod.linear.LoRA; a != nil {
			a.A.Free(m.dev)
			a.B.Free(m.dev)
			if a.DoRA != nil {
				a.DoRA.Free(m.dev)
			}
			mod.linear.LoRA = nil
		}
	}
	m.dropExperts()
	m.dropTables()
	m.adapter, m.tape.Adapters = nil, nil
}

// targets are the modules that get an adapter.
type targets struct {
	modules   []module               // linear modules, the head last
	embedding bool                   // the embeddings
	tokens    []checkpoint.TokenRows // rows trained by themselves
}

func (t targets) none() bool { return len(t.modules) == 0 && !t.embedding && len(t.tokens) == 0 }

// tables are the paths of the embeddings and the head.
func (m *Model) tables() checkpoint.Tables { return m.config.tables() }

// match finds the modules that l.Targets names, as PEFT does: a target is a module's whole path
// or its last components. Modules trained in full are excluded. A target without a match is
// ignored with a note, unless none has one. A module that cannot have an adapter is an error.
func (m *Model) match(l LoRA) (found targets, err error) {
	used := map[string]bool{}
	hits := func(path string, all bool) (hit bool) {
		for _, t := range l.Targets {
			if (all && t == "all") || ends(path, t) {
				used[t], hit = true, true
			}
		}
		inFull := slices.ContainsFunc(l.ModulesToSave, func(n string) bool { return checkpoint.Inside(path, n) })
		if i := slices.IndexFunc(l.ModulesToSave, func(n string) bool { return partOf(path, n) }); hit && !inFull && i >= 0 {
			err = fmt.Errorf("additional target %q names %s, which is a lora target as well: give its whole name, then it trains in full alone", l.ModulesToSave[i], path)
		}
		return hit && !inFull && (l.Exclude == nil || !l.Exclude(path))
	}
	found.embedding = hits(m.tables().Embedding, false)
	for mod := range m.modules() {
		if hits(mod.path, true) {
			found.modules = append(found.modules, mod)
		}
	}
	if hits(m.tables().Head, false) {
		found.modules = append(found.modules, m.headModule())
	}
	if err != nil {
		return found, err
	}
	for _, t := range l.Targets {
		switch other := func(p part) bool { return p.linear == nil && ends(p.path, t) }; {
		case used[t]:
		case slices.ContainsFunc(m.parts, other):
			return found, fmt.Errorf("lora target %q names no linear module, nor the embeddings or the head, and low-rank adapters are on those alone: additional_target trains it in full; there are: all, %s", t, m.targetNames())
		case len(used) == 0:
			return found, fmt.Errorf("lora target %q matches no linear module of %s; there are: all, %s", t, m.dir, m.targetNames())
		default:
			m.notes = append(m.notes, fmt.Sprintf("lora target %q matches no linear module of %s and is left out; there are: all, %s", t, m.dir, m.targetNames()))
		}
	}
	if found.none() {
		return found, fmt.Errorf("every module of %s that is a lora target is excluded, or trains in full as an additional_target", m.dir)
	}
	return found, nil
}

// headModule returns the head as a linear module.
func (m *Model) headModule() module { return module{m.tables().Head, &m.head.Linear} }

// targetNames lists the names that targets may have.
func (m *Model) targetNames() string {
	return strings.Join(append(lastNames(m.modules()), m.tables().Names()...), ", ")
}

// lastNames returns the last components of the modules' paths, without repetitions.
func lastNames(mods iter.Seq[module]) (names []string) {
	for mod := range mods {
		if n := mod.path[strings.LastIndexByte(mod.path, '.')+1:]; !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// PairOffsets returns the position of every adapter in the vector of all trained parameters.
func (m *Model) PairOffsets() []Pair {
	if m.adapter == nil {
		return nil
	}
	var pairs []Pair
	for _, mod := range m.adapter.modules {
		a := mod.linear.LoRA
		if mod.path == m.tables().Head {
			continue
		}
		pairs = append(pairs, Pair{mod.path, a.Offset, mod.linear.In, mod.linear.Out, a.Rank})
	}
	return pairs
}

// adapterParams returns the tensors of every adapter and of modules trained in full, in order.
func (m *Model) adapterParams() []*tensor.Param {
	own := m.adapterTensors()
	var list []*tensor.Param
	for p := range m.parameters() {
		if own[p] || m.adapter.saves[p] {
			list = append(list, p)
		}
	}
	return list
}

// adapterTensors returns the set of tensors that the model has because of its adapter.
func (m *Model) adapterTensors() map[*tensor.Param]bool {
	own := map[*tensor.Param]bool{}
	if m.adapter == nil {
		return own
	}
	for _, mod := range m.adapter.modules {
		if mod.linear.LoRA == nil { // not yet
			continue
		}
		for _, p := range adapterTensors(mod.linear.LoRA) {
			own[p] = true
		}
	}
	for _, l := range m.adapter.expertLayers() {
		own[l.LoRA.A], own[l.LoRA.B] = true, true
	}
	for _, part := range m.parts {
		for _, p := range part.own {
			own[p] = true
		}
	}
	return own
}

// adapterName returns p's name in the adapter's file.
func (m *Model) adapterName(p *tensor.Param) string {
	if m.adapter.saves[p] {
		return prefix + p.Name
	}
	return p.Name
}

// adapterTensors returns an adapter's tensors in the order in which PEFT registers them.
func adapterTensors(a *autograd.LoRA) []*tensor.Param {
	list := []*tensor.Param{a.A, a.B}
	if a.DoRA != nil {
		list = append(list, a.DoRA.Magnitude)
	}
	return list
}
