package checkpoint

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

// The file that PEFT 0.15.2 writes for a new adapter.
const adapterConfig = `{
  "alpha_pattern": {},
  "auto_mapping": null,
  "base_model_name_or_path": "models/tiny-llama",
  "bias": "none",
  "corda_config": null,
  "eva_config": null,
  "exclude_modules": null,
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "layer_replication": null,
  "layers_pattern": null,
  "layers_to_transform": null,
  "loftq_config": {},
  "lora_alpha": 16,
  "lora_bias": false,
  "lora_dropout": 0.05,
  "megatron_config": null,
  "megatron_core": "megatron.core",
  "modules_to_save": [
    "lm_head"
  ],
  "peft_type": "LORA",
  "r": 8,
  "rank_pattern": {},
  "revision": null,
  "target_modules": [
    "q_proj",
    "down_proj"
  ],
  "task_type": "CAUSAL_LM",
  "trainable_token_indices": null,
  "use_dora": false,
  "use_rslora": true
}`

func TestAdapterConfig(t *testing.T) {
	c := &AdapterConfig{
		BaseModel: "models/tiny-llama", Rank: 8, Alpha: 16, Dropout: 0.05, RSLoRA: true,
		Targets: []string{"q_proj", "down_proj"}, TargetParameters: []string{}, ModulesToSave: []string{"lm_head"},
	}
	dir := t.TempDir()
	ok(t, WriteAdapterConfig(dir, c))
	text, err := os.ReadFile(filepath.Join(dir, storage.AdapterConfigFile))
	ok(t, err)
	if string(text) != adapterConfig {
		t.Errorf("written:\n%s", text)
	}
	got, err := ReadAdapterConfig(dir)
	ok(t, err)
	got.alphaRead, got.kept, got.targets = nil, nil, targets{}
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got  %+v\nwant %+v", got, c)
	}
	if s := c.ScaleOf("q_proj"); s != 16/math.Sqrt(8) {
		t.Errorf("rslora scale %v", s)
	}
	c.RSLoRA = false
	if s := c.ScaleOf("q_proj"); s != 2 {
		t.Errorf("scale %v", s)
	}
}

// The spelling of values that were read is kept, also where PEFT's defaults apply.
func TestAdapterConfigSpelling(t *testing.T) {
	for text, want := range map[string]string{
		`{"r": 4, "lora_alpha": 16.0, "target_modules": ["q"]}`:                         `"lora_alpha": 16.0,`,
		`{"r": 4, "lora_alpha": 2.5, "target_modules": ["q"]}`:                          `"lora_alpha": 2.5,`,
		`{"r": 4, "target_modules": ["q"]}`:                                             `"lora_alpha": 8,`,
		`{"r": 4, "target_modules": "all-linear"}`:                                      `"target_modules": "all-linear",`,
		`{"r": 4, "target_modules": ["q"], "init_lora_weights": "gaussian", "new": {}}`: `"init_lora_weights": "gaussian",`,
	} {
		c, err := ReadAdapterConfig(folder(t, storage.AdapterConfigFile, text))
		ok(t, err)
		dir := t.TempDir()
		ok(t, WriteAdapterConfig(dir, c))
		got, err := os.ReadFile(filepath.Join(dir, storage.AdapterConfigFile))
		ok(t, err)
		if !strings.Contains(string(got), want) {
			t.Errorf("%s: written:\n%s", text, got)
		}
	}
}

func TestAdapterConfigErrors(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"peft_type", `"IA3"`, "peft_type is IA3"},
		{"task_type", `"SEQ_CLS"`, "task_type is SEQ_CLS"},
		{"lora_bias", `true`, "lora_bias is true"},
		{"use_qalora", `true`, "use_qalora is true"},
		{"bias", `"all"`, `bias is "all"`},
		{"rank_pattern", `{"q_proj": 0}`, "rank_pattern gives q_proj the rank 0"},
		{"alpha_pattern", `{"q_proj": "x"}`, `alpha_pattern.q_proj is "x", want a number`},
		{"alpha_pattern", `{"(": 4}`, "alpha_pattern: error parsing regexp"},
		{"layers_to_transform", `[0.5]`, "layers_to_transform holds 0.5, want integers"},
		{"alora_invocation_tokens", `[3]`, "alora_invocation_tokens is set"},
		{"trainable_token_indices", `{"embed_tokens": [-1]}`, "trainable_token_indices.embed_tokens has the token -1"},
		{"trainable_token_indices", `"all"`, "trainable_token_indices is neither a list"},
		{"kasa_config", `{"beta": 1}`, "kasa_config is set"},
		{"use_bdlora", `{"nblocks": 2}`, "use_bdlora is set"},
		{"monteclora_config", `{"num_samples": 2}`, "monteclora_config is set"},
		{"velora_config", `{"num_groups": 2}`, "velora_config is set"},
		{"init_lora_weights", `"mica"`, `init_lora_weights is "mica"`},
		{"init_lora_weights", `"lora_ga"`, `init_lora_weights is "lora_ga"`},
		{"target_parameters", `"x"`, "target_parameters is \"x\", want"},
		{"init_lora_weights", `"olora"`, `init_lora_weights is "olora"`},
		{"r", `0`, "r is 0, want at least 1"},
		{"lora_dropout", `1`, "lora_dropout is 1"},
		{"lora_alpha", `"x"`, `lora_alpha is "x", want a number`},
		{"target_modules", `[]`, "target_modules is missing or empty"},
		{"target_modules", `null`, "target_modules is missing or empty"},
	} {
		dir := edited(t, storage.AdapterConfigFile, adapterConfig, map[string]string{c.key: c.value})
		_, err := ReadAdapterConfig(dir)
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, storage.AdapterConfigFile)+": "+c.want) {
			t.Errorf("%s %s: got %v, want %q", c.key, c.value, err, c.want)
		}
	}
	if _, err := ReadAdapterConfig(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a PEFT adapter folder") {
		t.Errorf("got %v", err)
	}
}

// LoRA on both tables of a tied model, which peft after 0.18 keeps tied, is refused; an
// untied model is accepted.
func TestTiedLoRA(t *testing.T) {
	for version, tied := range map[string]bool{"0.18.1": false, "0.19.0": true, "0.21.0.dev0": true, "1.0": true} {
		dir := folder(t, storage.AdapterConfigFile, `{"r": 4, "target_modules": ["embed_tokens"], "ensure_weight_tying": true, "peft_version": "`+version+`"}`)
		c, err := ReadAdapterConfig(dir)
		ok(t, err)
		for _, model := range []bool{true, false} {
			if _, err := c.Tokens(&Weights{}, TablesOf("llama"), model); (err != nil) != (tied && model) {
				t.Errorf("peft %s, tied %v: %v", version, model, err)
			}
		}
	}
}
