package checkpoint

import (
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"

	container "dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/data/storage"
)

// GenerationFile is the file of a model folder that configures text generation.
const GenerationFile = "generation_config.json"

// GenerationConfig is a model folder's generation_config.json.
type GenerationConfig struct{ raw map[string]any }

// ReadGenerationConfig reads dir/generation_config.json. If it does not exist it is made
// from the tokens in config.json, as transformers does. A temperature, top_p or typical_p
// without sampling, which transformers refuses to save, gets do_sample.
func ReadGenerationConfig(dir string) (*GenerationConfig, error) {
	var f *fields
	err := fs.ErrNotExist // a GGUF file cannot have one
	if !container.Is(dir) {
		f, err = readFields(filepath.Join(dir, GenerationFile))
	}
	if errors.Is(err, fs.ErrNotExist) {
		model, err := configFields(dir)
		if err != nil {
			return nil, err
		}
		if model, _ = languageModel(model); model.err != nil {
			return nil, model.err
		}
		g := &GenerationConfig{map[string]any{"_from_model_config": true}}
		for _, key := range []string{"bos_token_id", "eos_token_id", "pad_token_id", "transformers_version"} {
			if v := model.raw[key]; v != nil {
				g.raw[key] = v
			}
		}
		return g, nil
	}
	if err != nil {
		return nil, err
	}
	f.sampling()
	return &GenerationConfig{f.raw}, f.err
}

// sampling sets do_sample where a value is given that only sampling uses.
func (f *fields) sampling() {
	if sample, _ := f.raw["do_sample"].(bool); sample {
		return
	}
	for _, key := range []string{"temperature", "top_p", "typical_p"} {
		if f.has(key) && f.float(key, 1) != 1 {
			f.raw["do_sample"] = true
		}
	}
}

// generationDefaults are the keys of text generation that old folders have in config.json,
// and the values that mean nothing there (transformers 4.52,
// PretrainedConfig._get_global_generation_defaults).
var generationDefaults = map[string]any{
	"max_length": 20.0, "min_length": 0.0, "do_sample": false, "early_stopping": false, "num_beams": 1.0, "temperature": 1.0,
	"top_k": 50.0, "top_p": 1.0, "typical_p": 1.0, "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0.0,
	"encoder_no_repeat_ngram_size": 0.0, "bad_words_ids": nil, "num_return_sequences": 1.0, "output_scores": false,
	"return_dict_in_generate": false, "forced_bos_token_id": nil, "forced_eos_token_id": nil, "remove_invalid_values": false,
	"exponential_decay_length_penalty": nil, "suppress_tokens": nil, "begin_suppress_tokens": nil, "num_beam_groups": 1.0, "diversity_penalty": 0.0,
}

// MoveGeneration moves the keys of text generation from a model's config.json to its
// generation_config.json, where they take precedence, as transformers does when it saves.
func MoveGeneration(c *ModelConfig, g *GenerationConfig) error {
	if c.Multimodal != nil { // its config.json is not changed
		return nil
	}
	for key, otherwise := range generationDefaults {
		v := c.raw[key]
		if n, whole := v.(int); whole {
			v = float64(n)
		}
		if v == nil || reflect.DeepEqual(v, otherwise) {
			continue
		}
		g.raw[key] = c.raw[key]
		c.Set(key, nil)
	}
	f := &fields{path: GenerationFile, raw: g.raw}
	f.sampling()
	return f.err
}

// WriteGenerationConfig writes dir/generation_config.json.
func WriteGenerationConfig(dir string, g *GenerationConfig) error {
	return storage.WriteFile(filepath.Join(dir, GenerationFile), g.Encode())
}

// Encode is the file's text.
func (g *GenerationConfig) Encode() []byte { return append(formatJSON(g.raw, 2), '\n') }

// SpecialTokens are a tokenizer's ids; -1 = there is none.
type SpecialTokens struct{ BOS, EOS, Pad int }

// AlignTokens sets the tokenizer's special tokens in a model's configuration, so that a
// model that was trained with a chat template ends where the template does: transformers
// 4.57, Trainer._align_special_tokens. Tokens that ended an answer before still do. The
// config.json of a multimodal model is not changed, because it also describes its towers.
func AlignTokens(c *ModelConfig, g *GenerationConfig, t SpecialTokens) {
	if v := g.raw["eos_token_id"]; v != nil {
		if _, list := v.([]any); !list {
			g.raw["eos_token_id"] = []any{v}
		}
	}
	ends, _ := g.raw["eos_token_id"].([]any)
	known := t.EOS < 0 && ends == nil || slices.ContainsFunc(ends, func(v any) bool { return sameToken(v, t.EOS) })
	if !known || c.Multimodal == nil && !sameToken(c.raw["eos_token_id"], t.EOS) {
		if c.Multimodal == nil {
			c.raw["eos_token_id"] = tokenValue(t.EOS)
		}
		all := []any{}
		if t.EOS >= 0 {
			all = append(all, t.EOS)
		}
		g.raw["eos_token_id"] = append(all, ends...)
	}
	for key, id := range map[string]int{"bos_token_id": t.BOS, "pad_token_id": t.Pad} {
		if !sameToken(c.raw[key], id) || !sameToken(g.raw[key], id) {
			g.raw[key] = tokenValue(id)
			if c.Multimodal == nil {
				c.raw[key] = tokenValue(id)
			}
		}
	}
}

// sameToken compares a key's value with an id; null and absent are -1.
func sameToken(v any, id int) bool {
	switch n := v.(type) {
	case nil:
		return id < 0
	case int:
		return n == id
	case float64:
		return n == float64(id)
	}
	return false
}

// tokenValue is an id as the value of a key.
func tokenValue(id int) any {
	if id < 0 {
		return nil
	}
	return id
}

// SetRopeScaling changes rope_scaling, or its replacement in transformers 5, in the file
// that WriteModelConfig writes.
func (c *ModelConfig) SetRopeScaling(s RopeScaling) {
	keys := map[string]any{"rope_type": s.Type, "factor": s.Factor}
	if s.OriginalMaxPositionEmbeddings > 0 && s.Type != "linear" {
		keys["original_max_position_embeddings"] = s.OriginalMaxPositionEmbeddings
	}
	if s.Type == "llama3" {
		keys["low_freq_factor"], keys["high_freq_factor"] = s.LowFreqFactor, s.HighFreqFactor
	}
	if _, modern := c.text["rope_parameters"].(map[string]any); modern {
		keys["rope_theta"] = c.RopeTheta
		c.Set("rope_parameters", keys)
		return
	}
	c.Set("rope_scaling", keys)
}
