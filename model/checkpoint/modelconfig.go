package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// ModelConfig is a Hugging Face config.json. Missing keys have the value that
// transformers 4.52 gives them for the model type; unknown keys are kept and
// written back.
type ModelConfig struct {
	Path          string // of config.json, for messages
	ModelType     string // llama, qwen2, mistral, …
	Architectures []string

	HiddenSize            int
	IntermediateSize      int
	NumHiddenLayers       int
	NumAttentionHeads     int
	NumKeyValueHeads      int // divides NumAttentionHeads
	HeadDim               int // HiddenSize / NumAttentionHeads unless given
	VocabSize             int
	MaxPositionEmbeddings int

	HiddenAct         string // silu, gelu_pytorch_tanh, …
	RMSNormEps        float64
	InitializerRange  float64
	TieWordEmbeddings bool
	QKVBias           bool // q_proj, k_proj and v_proj have biases
	OutputBias        bool // o_proj has one
	MLPBias           bool // gate_proj, up_proj and down_proj have them
	AttentionDropout  float64

	RopeTheta   float64
	RopeScaling *RopeScaling // nil: plain rope

	SlidingWindow   int // tokens a position sees, itself included; 0: all. Use Window.
	MaxWindowLayers int // qwen2: the first layers see everything

	TorchDType  string // of the stored weights, "" when not said
	BOSTokenID  int    // -1: none
	EOSTokenIDs []int  // often one; empty: none
	PadTokenID  int    // -1: none

	raw map[string]any
}

// RopeScaling is config.json's rope_scaling under its old and its new spelling
// ("type" and "rope_type"; like transformers, the old one wins). A zero means
// that the key is absent.
type RopeScaling struct {
	Type                          string // default, linear, dynamic, yarn, llama3, longrope, …
	Factor                        float64
	OriginalMaxPositionEmbeddings int
	LowFreqFactor, HighFreqFactor float64 // llama3
	AttentionFactor               float64 // yarn, longrope
	BetaFast, BetaSlow            float64 // yarn
	MScale, MScaleAllDim          float64 // yarn
	ShortFactor, LongFactor       []float64
}

// familyDefaults are the values of keys that a config.json may leave out
// (transformers 4.52, configuration_<family>.py).
type familyDefaults struct {
	maxPositions  int
	kvHeads       int // 0: as many as heads
	slidingWindow int
	qkvBias       bool // biases that no key turns off
	tied          bool
}

var families = map[string]familyDefaults{
	"llama":   {maxPositions: 2048},
	"mistral": {maxPositions: 131072, kvHeads: 8, slidingWindow: 4096},
	"qwen2":   {maxPositions: 32768, kvHeads: 32, slidingWindow: 4096, qkvBias: true},
	"qwen3":   {maxPositions: 32768, kvHeads: 32, slidingWindow: 4096},
	"gemma":   {maxPositions: 8192, kvHeads: 16, tied: true},
	"gemma2":  {maxPositions: 8192, kvHeads: 4, slidingWindow: 4096, tied: true},
}

// ReadModelConfig reads dir/config.json. Errors name the file and the key. It
// reads any model type; whether the decoder knows it is the decoder's to say.
func ReadModelConfig(dir string) (*ModelConfig, error) {
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "config.json")
	f, err := readFields(path)
	if errors.Is(err, fs.ErrNotExist) && exists(filepath.Join(dir, adapterConfigFile)) {
		return nil, fmt.Errorf("%s holds an adapter, not a model: give it as adapter_name_or_path and the base model as model_name_or_path: %w", dir, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no config.json: not a Hugging Face model folder: %w", dir, err)
	}
	if err != nil {
		return nil, err
	}
	c := &ModelConfig{Path: path, raw: f.raw, ModelType: f.string("model_type", "")}
	if c.ModelType == "" {
		f.fail("model_type is missing")
	}
	family := families[c.ModelType]
	c.readSizes(f, family)
	c.readBlocks(f, family)
	c.readTokens(f)
	c.readRope(f)
	return c, f.err
}

func (c *ModelConfig) readSizes(f *fields, family familyDefaults) {
	c.HiddenSize = f.positive("hidden_size")
	c.IntermediateSize = f.positive("intermediate_size")
	c.NumHiddenLayers = f.positive("num_hidden_layers")
	c.NumAttentionHeads = f.positive("num_attention_heads")
	c.VocabSize = f.positive("vocab_size")
	c.MaxPositionEmbeddings = f.atLeast1("max_position_embeddings", f.int("max_position_embeddings", max(family.maxPositions, 2048)))

	c.NumKeyValueHeads = c.NumAttentionHeads
	if _, present := f.raw["num_key_value_heads"]; !present && family.kvHeads > 0 {
		c.NumKeyValueHeads = family.kvHeads
	}
	c.NumKeyValueHeads = f.atLeast1("num_key_value_heads", f.int("num_key_value_heads", c.NumKeyValueHeads))
	if c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		f.fail("num_attention_heads %d is not a multiple of num_key_value_heads %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	}
	if !f.has("head_dim") && c.HiddenSize%c.NumAttentionHeads != 0 {
		f.fail("hidden_size %d is not a multiple of num_attention_heads %d and head_dim is not given", c.HiddenSize, c.NumAttentionHeads)
	}
	c.HeadDim = f.atLeast1("head_dim", f.int("head_dim", max(1, c.HiddenSize/c.NumAttentionHeads)))
}

func (c *ModelConfig) readBlocks(f *fields, family familyDefaults) {
	c.Architectures = f.strings("architectures")
	c.HiddenAct = f.string("hidden_act", f.string("hidden_activation", "silu"))
	c.RMSNormEps = f.float("rms_norm_eps", 1e-6)
	if c.RMSNormEps < 0 {
		f.fail("rms_norm_eps is %v, want at least 0", c.RMSNormEps)
	}
	c.InitializerRange = f.float("initializer_range", 0.02)
	c.TieWordEmbeddings = f.bool("tie_word_embeddings", family.tied)
	bias := f.bool("attention_bias", false)
	c.QKVBias, c.OutputBias = bias || family.qkvBias, bias && !family.qkvBias
	c.MLPBias = f.bool("mlp_bias", false)
	c.AttentionDropout = f.float("attention_dropout", 0)

	c.SlidingWindow = family.slidingWindow
	if _, present := f.raw["sliding_window"]; present {
		c.SlidingWindow = f.int("sliding_window", 0)
	}
	if c.SlidingWindow < 0 {
		f.fail("sliding_window is %d, want at least 1 or null", c.SlidingWindow)
	}
	// Only the qwen families have the switch, and it is off unless said.
	if c.ModelType == "qwen2" || c.ModelType == "qwen3" || f.has("use_sliding_window") {
		c.MaxWindowLayers = f.int("max_window_layers", 28)
		if !f.bool("use_sliding_window", false) {
			c.SlidingWindow = 0
		}
	}
	c.TorchDType = f.string("torch_dtype", f.string("dtype", ""))
}

// readTokens reads ids that may be a number, a list or null.
func (c *ModelConfig) readTokens(f *fields) {
	c.BOSTokenID = f.int("bos_token_id", -1)
	c.PadTokenID = f.int("pad_token_id", -1)
	list, isList := f.raw["eos_token_id"].([]any)
	if !isList {
		if f.has("eos_token_id") {
			c.EOSTokenIDs = []int{f.int("eos_token_id", 0)}
		}
		return
	}
	for _, v := range list {
		one := &fields{path: f.path, raw: map[string]any{"eos_token_id": v}}
		c.EOSTokenIDs = append(c.EOSTokenIDs, one.int("eos_token_id", 0))
		if one.err != nil && f.err == nil {
			f.err = one.err
		}
	}
}

func (c *ModelConfig) readRope(f *fields) {
	c.RopeTheta = f.float("rope_theta", 10000)
	s := f.object("rope_scaling")
	if p := f.object("rope_parameters"); p != nil && s == nil { // transformers 5
		c.RopeTheta = p.float("rope_theta", c.RopeTheta)
		s = p
	}
	if c.RopeTheta <= 0 {
		f.fail("rope_theta is %v, want more than 0", c.RopeTheta)
	}
	if s == nil {
		return
	}
	r := &RopeScaling{
		Type:                          s.string("type", s.string("rope_type", "")),
		Factor:                        s.float("factor", 0),
		OriginalMaxPositionEmbeddings: s.int("original_max_position_embeddings", 0),
		LowFreqFactor:                 s.float("low_freq_factor", 0),
		HighFreqFactor:                s.float("high_freq_factor", 0),
		AttentionFactor:               s.float("attention_factor", 0),
		BetaFast:                      s.float("beta_fast", 0),
		BetaSlow:                      s.float("beta_slow", 0),
		MScale:                        s.float("mscale", 0),
		MScaleAllDim:                  s.float("mscale_all_dim", 0),
		ShortFactor:                   s.floats("short_factor"),
		LongFactor:                    s.floats("long_factor"),
	}
	r.check(s)
	if s.err != nil && f.err == nil {
		f.err = s.err
	}
	if r.Type != "default" {
		c.RopeScaling = r
	}
}

// check refuses what the known types cannot do without.
func (r *RopeScaling) check(s *fields) {
	switch r.Type {
	case "":
		s.fail("rope_type is missing")
	case "linear", "dynamic", "yarn", "llama3":
		if !s.has("factor") {
			s.fail("factor is missing, rope_type %s needs it", r.Type)
		} else if r.Factor < 1 {
			s.fail("factor is %v, want at least 1", r.Factor)
		}
	}
	if r.Type != "llama3" {
		return
	}
	for _, key := range []string{"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"} {
		if !s.has(key) {
			s.fail("%s is missing, rope_type llama3 needs it", key)
		}
	}
	if r.HighFreqFactor <= r.LowFreqFactor {
		s.fail("high_freq_factor %v must be above low_freq_factor %v", r.HighFreqFactor, r.LowFreqFactor)
	}
}

// Window is how many tokens a position of layer sees, itself included; 0 = all.
func (c *ModelConfig) Window(layer int) int {
	if layer < c.MaxWindowLayers {
		return 0
	}
	return c.SlidingWindow
}

// Value is any key of config.json as parsed: numbers are json.Number.
func (c *ModelConfig) Value(key string) (any, bool) {
	v, ok := c.raw[key]
	return v, ok
}

// Set changes a key in what WriteModelConfig writes, and nothing else. value is
// nil, a bool, string, int, float64 or json.Number, or []any, []string or
// map[string]any of such.
func (c *ModelConfig) Set(key string, value any) { c.raw[key] = value }

// WriteModelConfig writes dir/config.json with all keys that were read, sorted,
// as transformers saves it after training: the cache is off, and torch_dtype is
// that of the weights ("float32", "bfloat16").
func WriteModelConfig(dir string, c *ModelConfig, torchDType string) error {
	c.Set("use_cache", false)
	if _, modern := c.raw["dtype"]; modern {
		c.Set("dtype", torchDType)
	} else {
		c.Set("torch_dtype", torchDType)
	}
	return WriteFile(filepath.Join(dir, "config.json"), append(formatJSON(c.raw, 2), '\n'))
}
