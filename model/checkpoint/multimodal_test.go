package checkpoint

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSparseTextConfig reads configurations of released folders, which leave out the
// defaults of their classes. The values are those of transformers 5.24's classes.
func TestSparseTextConfig(t *testing.T) {
	dir := folder(t, "config.json", `{"architectures": ["Gemma3ForConditionalGeneration"], "eos_token_id": [1, 106], "model_type": "gemma3",
		"text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
			"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024},
		"torch_dtype": "bfloat16", "vision_config": {"hidden_size": 1152}}`)
	c, err := ReadModelConfig(dir)
	ok(t, err)
	if m := c.Multimodal; m == nil || *m != (Multimodal{"gemma3", "model.language_model", "lm_head"}) {
		t.Errorf("%+v", m)
	}
	if c.ModelType != "gemma3_text" || c.HiddenSize != 2560 || c.VocabSize != 262208 || c.NumAttentionHeads != 8 || c.NumKeyValueHeads != 4 || c.HeadDim != 256 ||
		!c.TieWordEmbeddings || c.RopeTheta != 1e6 || c.RopeLocalBase != 1e4 || c.RopeScaling.Factor != 8 || c.PadTokenID != 0 || c.TorchDType != "bfloat16" ||
		!slices.Equal(c.EOSTokenIDs, []int{1, 106}) || c.Window(4) != 1024 || c.Window(5) != 0 {
		t.Errorf("%+v", c)
	}
	text, err := os.ReadFile(c.Path)
	ok(t, err)
	if string(c.Text()) != string(text) {
		t.Errorf("%s", c.Text())
	}
	c.Set("vocab_size", 262272)
	if !strings.Contains(string(c.Text()), "\"text_config\": {\n    \"hidden_size\": 2560") || !strings.Contains(string(c.Text()), "\n    \"vocab_size\": 262272") {
		t.Errorf("%s", c.Text())
	}

	// Qwen2-VL has the language model's keys beside vision_config.
	dir = folder(t, "config.json", `{"architectures": ["Qwen2VLForConditionalGeneration"], "hidden_size": 1536, "intermediate_size": 8960, "max_window_layers": 28,
		"model_type": "qwen2_vl", "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
		"rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "sliding_window": 32768, "use_sliding_window": false, "tie_word_embeddings": true,
		"vision_config": {"depth": 32, "hidden_size": 1536}, "vocab_size": 151936}`)
	c, err = ReadModelConfig(dir)
	ok(t, err)
	if c.ModelType != "qwen2_vl_text" || c.HiddenSize != 1536 || !c.QKVBias || c.OutputBias || !c.TieWordEmbeddings || c.RopeScaling != nil || c.Window(0) != 0 || c.RotaryDim != 128 {
		t.Errorf("%+v", c)
	}
	c.Set("vocab_size", 152000)
	if !strings.Contains(string(c.Text()), "\n  \"vocab_size\": 152000") {
		t.Errorf("%s", c.Text())
	}
}

func TestMultimodalRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"model_type": "llava"}`:                                                   "text_config is missing",
		`{"model_type": "gemma3", "text_config": 3}`:                                "text_config is 3, want an object",
		`{"model_type": "gemma3", "tie_word_embeddings": 1, "text_config": {}}`:     "tie_word_embeddings is 1",
		`{"model_type": "llava", "text_config": {"rope_scaling": {"factor": 2.0}}}`: "rope_type is missing",
	} {
		if _, err := ReadModelConfig(folder(t, "config.json", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestModule: a module has the same name in every layout.
func TestModule(t *testing.T) {
	usual, llama4 := Multimodal{Text: "model.language_model", Head: "lm_head"}, Multimodal{Text: "language_model.model", Head: "language_model.lm_head"}
	for _, before := range []string{"language_model.model.", "model.language_model.", "language_model.", "model."} {
		for _, rest := range []string{"layers.0.self_attn.q_proj.weight", "embed_tokens.weight", "norm.weight"} {
			for _, m := range []Multimodal{usual, llama4} {
				if got, part := m.Module(before + rest); !part || got != m.Text+"."+rest {
					t.Errorf("%s%s is %s of %+v, %v", before, rest, got, m, part)
				}
			}
		}
	}
	for _, m := range []Multimodal{usual, llama4} {
		for _, head := range []string{"lm_head", "language_model.lm_head"} {
			if got, part := m.Module(head + ".weight"); !part || got != m.Head+".weight" {
				t.Errorf("%s is %s of %+v, %v", head, got, m, part)
			}
		}
	}
	for _, name := range []string{"vision_tower.head.weight", "model.vision_tower.layers.0.mlp.fc1.weight", "visual.blocks.0.attn.proj.weight", "multi_modal_projector.linear_1.bias", "model.visual.merger.norm.weight"} {
		if got, part := usual.Module(name); part || got != name {
			t.Errorf("%s is %s, %v", name, got, part)
		}
	}
}

// TestTwoOfOneTensor: a folder with a tensor of the language model in two layouts is
// refused.
func TestTwoOfOneTensor(t *testing.T) {
	dir := folder(t, "config.json", `{"model_type": "llava", "text_config": {}}`)
	var tensors []Tensor
	for _, name := range []string{"language_model.model.norm.weight", "model.language_model.norm.weight"} {
		tensors = append(tensors, Tensor{Name: name, Shape: []int{1}, F32: []float32{1}})
	}
	ok(t, WriteSafetensors(filepath.Join(dir, "model.safetensors"), nil, tensors))
	if _, err := OpenWeights(dir); err == nil || !strings.Contains(err.Error(), "are the same tensor of the language model") {
		t.Errorf("got %v", err)
	}
}
