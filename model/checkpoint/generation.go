package checkpoint

import (
	"errors"
	"io/fs"
	"path/filepath"
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
	if sample, _ := f.raw["do_sample"].(bool); !sample {
		for _, key := range []string{"temperature", "top_p", "typical_p"} {
			if f.has(key) && f.float(key, 1) != 1 {
				f.raw["do_sample"] = true
			}
		}
	}
	return &GenerationConfig{f.raw}, f.err
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
