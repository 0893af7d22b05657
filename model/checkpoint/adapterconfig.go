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

// AdapterConfig is PEFT's adapter_config.json for LoRA, or for adapters that only train rows
// of tokens (peft_type TRAINABLE_TOKENS).
type AdapterConfig struct {
	TokensOnly       bool     // peft_type is TRAINABLE_TOKENS: there is no LoRA
	BaseModel        string   // base_model_name_or_path, as given
	Rank             int      // r
	Alpha            float64  // lora_alpha
	Dropout          float64  // lora_dropout
	RSLoRA           bool     // use_rslora: the scale is alpha/√r
	DoRA             bool     // use_dora: outputs are scaled by a magnitude
	Initial          string   // init_lora_weights if it is a word: pissa, pissa_niter_16, gaussian
	Targets          []string // target_modules: names, or endings after a dot, of modules
	TargetPattern    string   // target_modules given as one string: a regular expression, or "all-linear"
	TargetParameters []string // target_parameters: tensors of experts, or endings after a dot of their paths
	ModulesToSave    []string // modules_to_save: full copies stored beside the adapter
	Version          string   // peft_version, "" before 0.18
	TieWeights       bool     // ensure_weight_tying: if the embeddings are saved, a tied head stays tied to them, and the reverse
	FanInFanOut      bool     // fan_in_fan_out: the adapted weights are stored [in, out], as Conv1D's are; the arithmetic does not depend on it

	targets   targets
	tokens    []TokenRows    // trainable_token_indices: Path as given there, "" for the embeddings
	ranks     []pattern      // rank_pattern
	alphas    []pattern      // alpha_pattern
	alphaRead any            // lora_alpha as read: PEFT distinguishes 16 and 16.0
	kept      map[string]any // keys that are written as they were read
}

// PiSSA reports whether the adapter was initialised with the principal part of its weights,
// which was subtracted from them.
func (c *AdapterConfig) PiSSA() bool { return strings.HasPrefix(strings.ToLower(c.Initial), "pissa") }

// after018 reports whether a PEFT version after 0.18 wrote the adapter.
func (c *AdapterConfig) after018() bool {
	var major, minor int
	_, err := fmt.Sscanf(c.Version, "%d.%d", &major, &minor)
	return err == nil && (major > 0 || minor > 18)
}

// SwapsParameters reports whether the PEFT version that wrote the adapter takes the last two
// sizes of a tensor of experts for [out, in], as versions after 0.18 do, not for [in, out].
func (c *AdapterConfig) SwapsParameters() bool { return c.after018() }

// keptKeys affect the arithmetic, or how PEFT loads the adapter: if a config was read with
// them, they are written unchanged.
var keptKeys = []string{
	"rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern", "exclude_modules",
	"init_lora_weights", "trainable_token_indices",
}

// ReadAdapterConfig reads dir/adapter_config.json of any PEFT version. Unknown and missing
// keys are accepted, but settings that would change the arithmetic and are not implemented
// are refused. Errors name the file and the key.
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
		BaseModel:        f.string("base_model_name_or_path", ""),
		Rank:             f.size("r", 0, maxSize),
		Alpha:            f.float("lora_alpha", 8), // PEFT's default
		Dropout:          f.float("lora_dropout", 0),
		RSLoRA:           f.bool("use_rslora", false),
		DoRA:             f.bool("use_dora", false),
		TargetParameters: f.strings("target_parameters"),
		ModulesToSave:    f.strings("modules_to_save"),
		TieWeights:       f.bool("ensure_weight_tying", false),
		FanInFanOut:      f.bool("fan_in_fan_out", false),
		Version:          f.string("peft_version", ""),
		ranks:            f.patterns("rank_pattern"),
		alphas:           f.patterns("alpha_pattern"),
		alphaRead:        f.raw["lora_alpha"],
		kept:             map[string]any{},
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

// refuseUnsupported refuses settings with which the adapter would not compute y = Wx +
// scale·B(Ax), with or without DoRA's magnitudes. The keys are those of LoraConfig in peft
// 0.18.1 and 0.21.0, except fan_in_fan_out: PEFT sets it according to the modules, linear
// layers or Conv1D.
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
	// An aLoRA is only applied after its invocation tokens; PEFT cannot merge it either.
	for _, key := range []string{
		"alora_invocation_tokens", "arrow_config", "layer_replication", "megatron_config",
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

// WriteAdapterConfig writes dir/adapter_config.json with the keys and bytes of PEFT 0.15.2;
// keys of later versions only if they are not at their defaults.
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

// alpha keeps the type of number that was read; otherwise an integral value is written as an
// integer.
func (c *AdapterConfig) alpha() any {
	if c.alphaRead == c.Alpha {
		return c.Alpha
	}
	if c.Alpha == math.Trunc(c.Alpha) && math.Abs(c.Alpha) < 1<<53 {
		return int(c.Alpha)
	}
	return c.Alpha
}
