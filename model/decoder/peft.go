package decoder

import (
	"cmp"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/model/checkpoint"
)

// adaptedBy lists what a saved adapter is on.
func (m *Model) adaptedBy(dir string, c *checkpoint.AdapterConfig) (on targets, err error) {
	for mod := range m.modules() {
		if c.Adapts(mod.path, true) {
			on.modules = append(on.modules, mod)
		}
	}
	if c.Adapts(headPath, false) {
		on.modules = append(on.modules, m.headModule())
	}
	on.embedding = c.Adapts(embeddingPath, false)
	if on.none() {
		return on, fmt.Errorf("%s: target_modules %s matches no linear module of %s, as its other keys narrow it down", dir, c.TargetText(), m.dir)
	}
	on.tokens, err = c.Tokens(embeddingPath, headPath)
	return on, err
}

// toPEFT describes the adapters for adapter_config.json: as it was read, if it was.
func (m *Model) toPEFT() *checkpoint.AdapterConfig {
	a := m.adapter
	if a.read != nil {
		return a.read
	}
	targets := a.lora.Targets
	if slices.Contains(targets, "all") || len(a.modules) == len(slices.Collect(m.modules())) || a.lora.Exclude != nil {
		targets = lastNames(slices.Values(a.modules))
		if m.embedding.LoRA != nil {
			targets = append(targets, "embed_tokens")
		}
	}
	return &checkpoint.AdapterConfig{
		BaseModel: cmp.Or(m.name, m.dir), Rank: a.lora.Rank, Alpha: a.lora.Alpha, Dropout: a.lora.Dropout, RSLoRA: a.lora.RSLoRA, DoRA: a.lora.DoRA,
		Initial: a.lora.PiSSA, Targets: targets, ModulesToSave: a.lora.ModulesToSave,
		TieWeights: a.lora.TieWeights,
	}
}
