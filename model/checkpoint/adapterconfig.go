package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// AdapterConfig is PEFT's adapter_config.json for LoRA, or for tokens that train by
// themselves (peft_type TRAINABLE_TOKENS).
type AdapterConfig struct {
	TokensOnly    bool     // peft_type is TRAINABLE_TOKENS: there is no LoRA
	BaseModel     string   // base_model_name_or_path, as given
	Rank          int      // r
	Alpha         float64  // lora_alpha
	Dropout       float64  // lora_dropout
	RSLoRA        bool     // use_rslora: the scale is alpha/√r
	DoRA          bool     // use_dora: outputs are scaled by a magnitude
	Initial       string   // init_lora_weights where it is a word: pissa, pissa_niter_16, gaussian
	Targets       []string // target_modules: names, or endings after a dot, of modules
	TargetPattern string   // target_modules given as one string: a regular expression, or "all-linear"
	ModulesToSave []string // modules_to_save: full copies stored beside the adapter
	Version       string   // peft_version, "" before 0.18
	TieWeights    bool     // ensure_weight_tying: a tied head follows embeddings that are saved, or they it
	FanInFanOut   bool     // fan_in_fan_out: the adapted weights are stored [in, out], as Conv1D's are; arithmetic does not depend on it

	targets   targets
	tokens    []TokenRows    // trainable_token_indices: Path is as it is there, "" for the embeddings
	ranks     []pattern      // rank_pattern
	alphas    []pattern      // alpha_pattern
	alphaRead any            // lora_alpha as it was read: PEFT keeps 16 and 16.0 apart
	kept      map[string]any // keys that are written as they were read
}

// PiSSA says whether the adapter was started as the principal part of its weights, which
// then lack it.
func (c *AdapterConfig) PiSSA() bool { return strings.HasPrefix(strings.ToLower(c.Initial), "pissa") }

// keptKeys change the arithmetic, or what PEFT would do on loading: a config that was read
// is written with them.
var keptKeys = []string{
	"rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern", "exclude_modules",
	"init_lora_weights", "trainable_token_indices",
}

// ReadAdapterConfig reads dir/adapter_config.json of any PEFT version: unknown
// and missing keys are fine, but what would change the arithmetic and is not
// implemented is refused. Errors name the file and the key.
func ReadAdapterConfig(dir string) (*AdapterConfig, error) {
	path := filepath.Join(dir, storage.AdapterConfigFile)
	f, err := readFields(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no %s: not a PEFT adapter folder: %w", dir, storage.AdapterConfigFile, err)
	}
	if err != nil {
		return nil, err
	}
	if f.string("peft_type", "LORA") == tokensType {
		return f.tokensOnly()
	}
	refuseUnsupported(f)
	c := &AdapterConfig{
		BaseModel:     f.string("base_model_name_or_path", ""),
		Rank:          f.size("r", 0, maxSize),
		Alpha:         f.float("lora_alpha", 8), // peft's default
		Dropout:       f.float("lora_dropout", 0),
		RSLoRA:        f.bool("use_rslora", false),
		DoRA:          f.bool("use_dora", false),
		ModulesToSave: f.strings("modules_to_save"),
		TieWeights:    f.bool("ensure_weight_tying", false),
		FanInFanOut:   f.bool("fan_in_fan_out", false),
		Version:       f.string("peft_version", ""),
		ranks:         f.patterns("rank_pattern"),
		alphas:        f.patterns("alpha_pattern"),
		alphaRead:     f.raw["lora_alpha"],
		kept:          map[string]any{},
	}
	c.targets = f.targets(c)
	c.tokens = f.tokens()
	c.Initial, _ = f.raw["init_lora_weights"].(string)
	for _, k := range keptKeys {
		if v := f.raw[k]; v != nil {
			c.kept[k] = v
		}
	}
	if c.Dropout < 0 || c.Dropout >= 1 {
		f.fail("lora_dropout is %v, want 0 <= p < 1", c.Dropout)
	}
	return c, f.err
}

// refuseUnsupported fails on settings that would make the adapter compute
// something else than y = Wx + scale·B(Ax), with DoRA's magnitudes or without.
// Keys are those of peft 0.18.1's and 0.21.0's LoraConfig; fan_in_fan_out is not among them: PEFT sets it as the
// modules are, linear layers or Conv1D.
func refuseUnsupported(f *fields) {
	if t := f.string("peft_type", "LORA"); t != "LORA" {
		f.fail("peft_type is %s, and LORA and TRAINABLE_TOKENS adapters are read here: merge it into its base model with PEFT (merge_and_unload), if that kind can be, and train on that", t)
	}
	if t := f.string("task_type", "CAUSAL_LM"); t != "CAUSAL_LM" {
		f.fail("task_type is %s, only CAUSAL_LM adapters are read", t)
	}
	const wayOut = "which is not supported: merge the adapter into its base model with PEFT (merge_and_unload) and train on that"
	for _, key := range []string{"lora_bias", "use_qalora"} {
		if f.bool(key, false) {
			f.fail("%s is true, %s", key, wayOut)
		}
	}
	if b := f.string("bias", "none"); b != "none" {
		f.fail("bias is %q, only \"none\" is supported", b)
	}
	// An aLoRA acts after its invocation tokens alone; PEFT cannot merge it either.
	for _, key := range []string{
		"alora_invocation_tokens", "arrow_config", "layer_replication", "target_parameters", "megatron_config",
		"use_bdlora", "kasa_config", "monteclora_config", "velora_config",
	} {
		switch v := f.raw[key].(type) {
		case nil:
		case []any:
			if len(v) > 0 {
				f.fail("%s is set, which is not supported", key)
			}
		case map[string]any:
			if len(v) > 0 {
				f.fail("%s is set, which is not supported", key)
			}
		default:
			f.fail("%s is set, which is not supported", key)
		}
	}
	// These initialisations move part of W into B·A when PEFT loads the adapter.
	if s, ok := f.raw["init_lora_weights"].(string); ok {
		for _, kind := range []string{"olora", "corda", "loftq", "lora_ga"} {
			if strings.HasPrefix(strings.ToLower(s), kind) {
				f.fail("init_lora_weights is %q, whose base weights differ from the model's: convert it with PEFT (save_pretrained with path_initial_model_for_weight_conversion)", s)
			}
		}
		if strings.EqualFold(s, "mica") {
			f.fail("init_lora_weights is %q, which trains A alone, %s", s, wayOut)
		}
	}
}

// WriteAdapterConfig writes dir/adapter_config.json with the keys and bytes of
// PEFT 0.15.2; keys of later versions only where they say something.
func WriteAdapterConfig(dir string, c *AdapterConfig) error {
	keys := map[string]any{
		"alpha_pattern": map[string]any{}, "auto_mapping": nil, "base_model_name_or_path": c.BaseModel,
		"bias": "none", "corda_config": nil, "eva_config": nil, "exclude_modules": nil,
		"fan_in_fan_out": c.FanInFanOut, "inference_mode": true, "init_lora_weights": true,
		"layer_replication": nil, "layers_pattern": nil, "layers_to_transform": nil,
		"loftq_config": map[string]any{}, "lora_alpha": c.alpha(), "lora_bias": false,
		"lora_dropout": c.Dropout, "megatron_config": nil, "megatron_core": "megatron.core",
		"modules_to_save": nil, "peft_type": "LORA", "r": c.Rank, "rank_pattern": map[string]any{},
		"revision": nil, "target_modules": c.Targets, "task_type": "CAUSAL_LM",
		"trainable_token_indices": nil, "use_dora": c.DoRA, "use_rslora": c.RSLoRA,
	}
	if c.TokensOnly {
		keys = map[string]any{}
	}
	if c.BaseModel == "" && !c.TokensOnly {
		keys["base_model_name_or_path"] = nil
	}
	if c.TargetPattern != "" && !c.TokensOnly {
		keys["target_modules"] = c.TargetPattern
	}
	if len(c.ModulesToSave) > 0 {
		keys["modules_to_save"] = c.ModulesToSave
	}
	if c.Initial != "" {
		keys["init_lora_weights"] = c.Initial
	}
	if c.TieWeights {
		keys["ensure_weight_tying"] = true
	}
	for k, v := range c.kept {
		keys[k] = v
	}
	return storage.WriteFile(filepath.Join(dir, storage.AdapterConfigFile), formatJSON(keys, 2))
}

// alpha keeps the kind of number that was read; otherwise a whole one is written as such.
func (c *AdapterConfig) alpha() any {
	if c.alphaRead == c.Alpha {
		return c.Alpha
	}
	if c.Alpha == math.Trunc(c.Alpha) && math.Abs(c.Alpha) < 1<<53 {
		return int(c.Alpha)
	}
	return c.Alpha
}
