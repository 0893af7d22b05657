package decoder

import (
	"cmp"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/model/checkpoint"
)

// LoadAdapter freezes the model and loads the PEFT adapter saved in dir, with its rank, alpha
// and targets, to continue training it. It replaces the current adapters.
func (m *Model) LoadAdapter(dir string) error {
	c, err := checkpoint.ReadAdapterConfig(dir)
	if err != nil {
		return err
	}
	l := LoRA{Rank: c.Rank, Alpha: c.Alpha, Dropout: c.Dropout, RSLoRA: c.RSLoRA, DoRA: c.DoRA, Targets: c.Targets, ModulesToSave: c.ModulesToSave, TieWeights: c.TieWeights}
	w, err := checkpoint.OpenAdapter(dir)
	if err != nil {
		return err
	}
	defer w.Close()
	towers, err := m.adapterOfMultimodal(c, w)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	experts, err := m.onExperts(dir, c)
	if err != nil {
		return err
	}
	on, err := m.adaptedBy(dir, c, w)
	if err != nil {
		return err
	}
	if err := m.makeRoom(dir, w); err != nil {
		return err
	}
	err = m.attach(l, on, func(path string) (int, float32) { return c.RankOf(path), float32(c.ScaleOf(path)) })
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	m.adapter.dir, m.adapter.towers = dir, towers
	if m.adapter.content, err = checkpoint.Content(dir); err != nil {
		return err
	}
	if m.adapter.read = c; c.PiSSA() { // as PEFT does when it loads: the base's weights still contain the principal part, which is subtracted
		if err := m.startPiSSA(); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return m.readAdapter(dir, c, w, experts)
}

// readAdapter reads the tensors w of the adapter in dir into the modules that have been attached,
// after it has attached those of target_parameters.
func (m *Model) readAdapter(dir string, c *checkpoint.AdapterConfig, w *checkpoint.Weights, experts []*expertsAdapter) error {
	if err := m.readTables(w); err != nil {
		return err
	}
	params := m.adapterParams()
	if err := m.attachExperts(experts, c, w); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, x := range experts {
		params = append(params, x.a, x.b)
	}
	if err := m.read(w, adapterFile(dir), params, m.adapterName); err != nil {
		return err
	}
	return m.startExperts()
}

// adaptedBy returns the modules that a saved adapter with the tensors w is on.
func (m *Model) adaptedBy(dir string, c *checkpoint.AdapterConfig, w *checkpoint.Weights) (on targets, err error) {
	if on.tokens, err = c.Tokens(w, m.tables(), m.tied()); err != nil {
		return on, fmt.Errorf("%s: %w", dir, err)
	}
	if c.TokensOnly {
		return on, m.onlyTokens(dir, c, on.tokens)
	}
	for mod := range m.modules() {
		if c.Adapts(mod.path, true) {
			on.modules = append(on.modules, mod)
		}
	}
	if c.Adapts(m.tables().Head, false) {
		on.modules = append(on.modules, m.headModule())
	}
	on.embedding = c.Adapts(m.tables().Embedding, false)
	if on.none() && len(c.TargetParameters) == 0 {
		return on, fmt.Errorf("%s: target_modules %s matches no linear module of %s, as its other keys narrow it down", dir, c.TargetText(), m.dir)
	}
	return on, nil
}

// onlyTokens returns an error unless an adapter with nothing but trained tokens (TokensOnly) is
// on the embeddings or the head alone.
func (m *Model) onlyTokens(dir string, c *checkpoint.AdapterConfig, tokens []checkpoint.TokenRows) error {
	if len(tokens) == 0 {
		return fmt.Errorf("%s: target_modules %s matches neither %s nor %s", dir, c.TargetText(), m.tables().Embedding, m.tables().Head)
	}
	for mod := range m.modules() {
		if c.Adapts(mod.path, true) {
			return fmt.Errorf("%s: target_modules %s matches %s, and rows train by themselves of %s and %s alone", dir, c.TargetText(), mod.path, m.tables().Embedding, m.tables().Head)
		}
	}
	return nil
}

// toPEFT returns the adapters' adapter_config.json: the one that was loaded, if any.
func (m *Model) toPEFT() *checkpoint.AdapterConfig {
	a := m.adapter
	if a.read != nil {
		return a.read
	}
	targets := a.lora.Targets
	if slices.Contains(targets, "all") || len(a.modules) == len(slices.Collect(m.modules())) || a.lora.Exclude != nil {
		targets = lastNames(slices.Values(a.modules))
		if m.embedding.LoRA != nil {
			targets = append(targets, m.tables().Names()[0])
		}
	}
	if m.config.Multimodal != nil { // full paths, because modules of the towers have the same last names
		targets = nil
		for _, mod := range a.modules {
			targets = append(targets, mod.path)
		}
		if m.embedding.LoRA != nil {
			targets = append(targets, m.tables().Embedding)
		}
	}
	return &checkpoint.AdapterConfig{
		BaseModel: cmp.Or(m.name, m.dir), Rank: a.lora.Rank, Alpha: a.lora.Alpha, Dropout: a.lora.Dropout, RSLoRA: a.lora.RSLoRA, DoRA: a.lora.DoRA,
		Initial: a.lora.PiSSA, Targets: targets, ModulesToSave: a.lora.ModulesToSave,
		TieWeights: a.lora.TieWeights, FanInFanOut: slices.ContainsFunc(a.modules, func(mod module) bool { return m.layouts[mod.linear.Weight].transposed }),
	}
}
