package checkpoint

import (
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

// The modules that PEFT 0.18 adapts (check_target_module_exists), with rank and scale:
// derived from its source.
func TestAdapterTargets(t *testing.T) {
	q0, q1, down1, head := "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj", "lm_head"
	for _, c := range []struct {
		text  string
		adapt []string
		not   []string
	}{
		{`"target_modules": ["q_proj", "nowhere"]`, []string{q0, q1}, []string{down1, head}},
		{`"target_modules": ["proj"]`, nil, []string{q0}},
		{`"target_modules": "all-linear"`, []string{q0, down1}, []string{head}},
		{`"target_modules": ".*\\.1\\..*_proj"`, []string{q1, down1}, []string{q0}},
		{`"target_modules": ["q_proj", "down_proj"], "exclude_modules": ["1.mlp.down_proj"]`, []string{q0, q1}, []string{down1}},
		{`"target_modules": ["q_proj"], "exclude_modules": ".*layers\\.0.*"`, []string{q1}, []string{q0}},
		{`"target_modules": ["q_proj"], "layers_to_transform": [1]`, []string{q1}, []string{q0}},
		{`"target_modules": ["q_proj"], "layers_to_transform": 0, "layers_pattern": "layers"`, []string{q0}, []string{q1}},
		{`"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["blocks"]`, nil, []string{q0, q1}},
		{`"target_modules": ["q_proj", "down_proj"], "modules_to_save": ["mlp"]`, []string{q0}, []string{down1}},
	} {
		a, err := ReadAdapterConfig(folder(t, storage.AdapterConfigFile, `{"r": 8, "lora_alpha": 16, `+c.text+`}`))
		ok(t, err)
		for _, m := range c.adapt {
			if !a.Adapts(m, m != head) {
				t.Errorf("%s does not adapt %s", c.text, m)
			}
		}
		for _, m := range c.not {
			if a.Adapts(m, m != head) {
				t.Errorf("%s adapts %s", c.text, m)
			}
		}
	}
	a, err := ReadAdapterConfig(folder(t, storage.AdapterConfigFile, `{"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "down_proj"],
		"rank_pattern": {"layers.1.self_attn.q_proj": 4, "down_proj": 2}, "alpha_pattern": {".*0.*q_proj": 32}}`))
	ok(t, err)
	for module, want := range map[string][2]float64{q0: {8, 4}, q1: {4, 4}, down1: {2, 8}, "model.layers.0.mlp.up_proj": {8, 2}} {
		if r, s := a.RankOf(module), a.ScaleOf(module); float64(r) != want[0] || s != want[1] {
			t.Errorf("%s: rank %d scale %v, want %v", module, r, s, want)
		}
	}
}
