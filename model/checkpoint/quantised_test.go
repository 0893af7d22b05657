package checkpoint

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

// Folders whose config.json describes an unsupported quantisation are refused with its name.
func TestQuantisedConfigs(t *testing.T) {
	for config, want := range map[string]string{
		`{"quant_method": "hqq"}`:     "quantised (hqq)",
		`{"quant_method": "aqlm"}`:    "quantised (aqlm)",
		`{"quant_method": "torchao"}`: "quantised (torchao)",
		`{"bits": 4}`:                 `quantised ({"bits": 4})`,
	} {
		dir := edited(t, storage.ConfigFile, llamaConfig, map[string]string{"quantization_config": config})
		if _, err := ReadModelConfig(dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "name the folder of the model's weights in bf16") {
			t.Errorf("%s: %v", config, err)
		}
	}
	packed, err := ReadModelConfig(edited(t, storage.ConfigFile, llamaConfig, map[string]string{"quantization_config": `{"quant_method": "mxfp4"}`}))
	ok(t, err)
	if _, there := packed.Value("quantization_config"); there { // numbers are written, not codes
		t.Error("MXFP4 would be written into a config.json")
	}
	for _, config := range []string{"null", `{"quant_method": "gptq", "bits": 4}`, `{"quant_method": "awq", "bits": 4}`, `{"quant_method": "fp8"}`, `{"quant_method": "bitsandbytes", "load_in_4bit": true}`, `{"load_in_8bit": true}`} {
		if _, err := ReadModelConfig(edited(t, storage.ConfigFile, llamaConfig, map[string]string{"quantization_config": config})); err != nil {
			t.Error(err)
		}
	}
}

// Tensors of quantised weights are also recognised and refused; masks and counters of old
// writers are not weights.
func TestQuantisedTensors(t *testing.T) {
	for name, dtype := range map[string]string{
		"model.layers.0.mlp.up_proj.weight": "U8", "model.layers.0.mlp.down_proj.qweight": "I32", "model.layers.0.mlp.gate_proj.weight": "F8_E4M3",
		"model.layers.0.mlp.up_proj.weight_packed": "I32", "model.layers.0.mlp.up_proj.weight.absmax": "U8", "x.experts.down_proj_scales": "U8",
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, storage.ModelFile), file(`{"`+name+`":{"dtype":"`+dtype+`","shape":[1,4],"data_offsets":[0,`+map[bool]string{true: "16", false: "4"}[dtype == "I32"]+`]}}`, make([]byte, map[bool]int{true: 16, false: 4}[dtype == "I32"])))
		if _, err := OpenWeights(dir); err == nil || !strings.Contains(err.Error(), `tensor "`+name+`" is `+dtype) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, storage.ModelFile), file(`{"model.layers.0.self_attn.mask":{"dtype":"BOOL","shape":[4],"data_offsets":[0,4]}}`, make([]byte, 4)))
	w, err := OpenWeights(dir)
	ok(t, err)
	ok(t, w.Close())
}

// The tensors of a folder of only the layers have the names of a whole model.
func TestBackbone(t *testing.T) {
	dir := t.TempDir()
	ok(t, WriteSafetensors(filepath.Join(dir, storage.ModelFile), nil, []Tensor{
		{Name: "embed_tokens.weight", Shape: []int{2}, F32: []float32{1, 2}},
		{Name: "layers.0.mlp.up_proj.weight", Shape: []int{1}, F32: []float32{3}},
		{Name: "norm.weight", Shape: []int{1}, F32: []float32{4}},
	}))
	w, err := OpenWeights(dir)
	ok(t, err)
	defer w.Close()
	if got := w.Names(); !slices.Equal(got, []string{"model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight"}) {
		t.Errorf("names %v", got)
	}
	x := make([]float32, 1)
	if err := w.ReadFloat32("model.norm.weight", x); err != nil || x[0] != 4 {
		t.Errorf("%v, %v", x, err)
	}
}

// The special tokens that transformers 4.57's Trainer sets for a model and a tokenizer with
// another end token: derived from _align_special_tokens.
func TestAlignTokens(t *testing.T) {
	for _, c := range []struct{ config, generation, tokens, wantConfig, wantGeneration string }{
		{
			`{"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}`, `{"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}`, "1 2 0",
			`{"bos_token_id":1,"eos_token_id":2,"pad_token_id":0}`, `{"bos_token_id":1,"eos_token_id":[2],"pad_token_id":0}`,
		},
		{
			`{"eos_token_id": 2, "bos_token_id": 1}`, `{"eos_token_id": [2, 5], "bos_token_id": 1}`, "1 7 3",
			`{"bos_token_id":1,"eos_token_id":7,"pad_token_id":3}`, `{"bos_token_id":1,"eos_token_id":[7,2,5],"pad_token_id":3}`,
		},
		{`{"eos_token_id": [2, 5]}`, `{"eos_token_id": [2, 5]}`, "-1 2 -1", `{"eos_token_id":2}`, `{"eos_token_id":[2,2,5]}`},
		{`{"eos_token_id": 9, "bos_token_id": 1}`, `{}`, "-1 9 -1", `{"bos_token_id":null,"eos_token_id":9}`, `{"bos_token_id":null,"eos_token_id":[9]}`},
	} {
		dir := folder(t, storage.ConfigFile, c.config)
		write(t, filepath.Join(dir, GenerationFile), []byte(c.generation))
		f, err := readFields(filepath.Join(dir, storage.ConfigFile))
		ok(t, err)
		m := &ModelConfig{raw: f.raw}
		g, err := ReadGenerationConfig(dir)
		ok(t, err)
		var tokens SpecialTokens
		if _, err := fmt.Sscan(c.tokens, &tokens.BOS, &tokens.EOS, &tokens.Pad); err != nil {
			t.Fatal(err)
		}
		AlignTokens(m, g, tokens)
		for _, x := range []struct{ got, want string }{{string(formatJSON(m.raw, 0)), c.wantConfig}, {string(formatJSON(g.raw, 0)), c.wantGeneration}} {
			if got := strings.NewReplacer("\n", "", " ", "").Replace(x.got); got != x.want {
				t.Errorf("%s with %s: %s, want %s", c.config, c.tokens, got, x.want)
			}
		}
	}
}
