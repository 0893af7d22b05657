package decoder

import (
	"cmp"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/model/checkpoint"
)

// adaptedBy lists the modules that a saved adapter is on.
func (m *Model) adaptedBy(dir string, c *checkpoint.AdapterConfig) ([]module, error) {
	for _, other := range []string{"model.embed_tokens", "lm_head"} {
		if c.Adapts(other, false) {
			return nil, fmt.Errorf("%s: target_modules %s names %s, and low-rank adapters are on the layers' linear modules here: merge it into its base model with dataflex-cli export, and name what that writes", dir, c.TargetText(), other)
		}
	}
	var mods []module
	for mod := range m.modules() {
		if c.Adapts(mod.path, true) {
			mods = append(mods, mod)
		}
	}
	if len(mods) == 0 {
		return nil, fmt.Errorf("%s: target_modules %s matches no linear module of %s, as its other keys narrow it down", dir, c.TargetText(), m.dir)
	}
	return mods, nil
}

// toPEFT describes the adapters for adapter_config.json: as it was read, if it was.
func (m *Model) toPEFT() *checkpoint.AdapterConfig {
	a := m.adapter
	if a.read != nil {
		return a.read
	}
	targets := a.lora.Targets
	if every := slices.Collect(m.modules()); len(a.modules) == len(every) || a.lora.Exclude != nil {
		targets = lastNames(slices.Values(a.modules))
	}
	return &checkpoint.AdapterConfig{
		BaseModel: cmp.Or(m.name, m.dir), Rank: a.lora.Rank, Alpha: a.lora.Alpha, Dropout: a.lora.Dropout, RSLoRA: a.lora.RSLoRA, DoRA: a.lora.DoRA,
		Initial: a.lora.PiSSA, Targets: targets, ModulesToSave: a.lora.ModulesToSave,
		TieWeights: a.lora.TieWeights,
	}
}
