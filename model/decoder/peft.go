package decoder

import (
	"fmt"
	"regexp"
	"slices"

	"dataflex.dev/dataflex/model/checkpoint"
)

// fromPEFT reads the adapter's description. PEFT also takes one string as
// target_modules: "all-linear", or a regular expression for whole module paths.
func (m *Model) fromPEFT(dir string, c *checkpoint.AdapterConfig) (LoRA, error) {
	l := LoRA{Rank: c.Rank, Alpha: c.Alpha, Dropout: c.Dropout, RSLoRA: c.RSLoRA, Targets: c.Targets, ModulesToSave: c.ModulesToSave}
	switch c.TargetPattern {
	case "":
	case "all-linear":
		l.Targets = []string{"all"}
	default:
		pattern, err := regexp.Compile("^(?:" + c.TargetPattern + ")$")
		if err != nil {
			return LoRA{}, fmt.Errorf("%s: target_modules: %w", dir, err)
		}
		for mod := range m.modules() {
			if pattern.MatchString(mod.path) {
				l.Targets = append(l.Targets, mod.path)
			}
		}
		if l.Targets == nil {
			return LoRA{}, fmt.Errorf("%s: target_modules %q matches no linear module", dir, c.TargetPattern)
		}
	}
	return l, nil
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
		BaseModel: m.dir, Rank: a.lora.Rank, Alpha: a.lora.Alpha, Dropout: a.lora.Dropout, RSLoRA: a.lora.RSLoRA, Targets: targets,
		ModulesToSave: a.lora.ModulesToSave,
	}
}
