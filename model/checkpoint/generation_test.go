package checkpoint

import (
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

// Keys of text generation that old folders have in config.json are moved to
// generation_config.json, as transformers 4.52.4's save_pretrained moves them; a temperature
// without sampling, which it refuses to save, gets do_sample, as in LLaMA-Factory.
func TestMoveGeneration(t *testing.T) {
	const keys = `"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "eos_token_id": 2`
	for _, c := range []struct{ config, generation, want string }{
		{"", `{"eos_token_id": 2, "temperature": 0.8, "do_sample": true}`, `{"do_sample": true, "eos_token_id": 2, "temperature": 0.8}`},
		{`, "do_sample": true, "temperature": 0.6, "top_p": 0.9, "max_length": 4096, "repetition_penalty": 1.1, "top_k": 50, "num_beams": 1`, "", `{"_from_model_config": true, "do_sample": true, "eos_token_id": 2, "max_length": 4096, "repetition_penalty": 1.1, "temperature": 0.6, "top_p": 0.9}`},
		{`, "temperature": 0.6, "do_sample": true`, `{"temperature": 0.8, "do_sample": true}`, `{"do_sample": true, "temperature": 0.6}`},
		{`, "temperature": 0.6`, `{}`, `{"do_sample": true, "temperature": 0.6}`},
		{`, "max_length": 20, "typical_p": 1.0, "bad_words_ids": null`, `{}`, `{}`},
	} {
		dir := folder(t, storage.ConfigFile, "{"+keys+c.config+"}")
		if c.generation != "" {
			ok(t, storage.WriteFile(dir+"/"+GenerationFile, []byte(c.generation)))
		}
		m, err := ReadModelConfig(dir)
		ok(t, err)
		g, err := ReadGenerationConfig(dir)
		ok(t, err)
		ok(t, MoveGeneration(m, g))
		if got := string(formatJSON(g.raw, 0)); got != c.want {
			t.Errorf("config.json with %q and %q: %s, want %s", c.config, c.generation, got, c.want)
		}
		for key := range generationDefaults {
			if v := m.raw[key]; v != nil && g.raw[key] != nil {
				t.Errorf("%s is still %v in config.json", key, v)
			}
		}
	}
}
