package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
)

// ramp is n numbers without a pattern that a transposition would keep.
func ramp(n int, scale float64) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(scale * math.Sin(float64(3*i+1)))
	}
	return out
}

// modelFolder is a tied model with the tensors of two layers, and an adapter of rank 2 on one
// of them, with a full copy of the embeddings that has one more row.
func modelFolder(t *testing.T) (model, adapter string) {
	t.Helper()
	model, adapter = t.TempDir(), t.TempDir()
	write := func(path string, tensors ...checkpoint.Tensor) {
		if err := checkpoint.WriteSafetensors(path, map[string]string{"format": "pt"}, tensors); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(model, storage.ModelFile),
		checkpoint.Tensor{Name: "model.embed_tokens.weight", Shape: []int{5, 4}, F32: ramp(20, 1)},
		checkpoint.Tensor{Name: "lm_head.weight", Shape: []int{5, 4}, F32: ramp(20, 1)},
		checkpoint.Tensor{Name: "model.layers.2.mlp.up_proj.weight", Shape: []int{3, 4}, F32: ramp(12, 2)},
		checkpoint.Tensor{Name: "model.layers.10.mlp.up_proj.weight", Shape: []int{3, 4}, F32: ramp(12, 3)},
		checkpoint.Tensor{Name: "model.norm.weight", Shape: []int{4}, F32: ramp(4, 1)})
	write(filepath.Join(adapter, storage.AdapterFile),
		checkpoint.Tensor{Name: peftPrefix + "model.layers.2.mlp.up_proj.lora_A.weight", Shape: []int{2, 4}, F32: ramp(8, .5)},
		checkpoint.Tensor{Name: peftPrefix + "model.layers.2.mlp.up_proj.lora_B.weight", Shape: []int{3, 2}, F32: ramp(6, .7)},
		checkpoint.Tensor{Name: peftPrefix + "model.embed_tokens.weight", Shape: []int{6, 4}, F32: ramp(24, 4)})
	for path, text := range map[string]string{
		filepath.Join(adapter, "adapter_config.json"): `{"peft_type":"LORA","r":2,"lora_alpha":3,"target_modules":["up_proj"],"modules_to_save":["embed_tokens"],"ensure_weight_tying":true,"task_type":"CAUSAL_LM"}`,
		filepath.Join(model, "config.json"): `{"model_type":"llama","hidden_size":4,"intermediate_size":3,"num_hidden_layers":11,"num_attention_heads":2,
			"vocab_size":5,"rms_norm_eps":1e-05,"tie_word_embeddings":true,"torch_dtype":"bfloat16","use_cache":true,"eos_token_id":2}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return model, adapter
}

func merge(t *testing.T, model string, adapters ...string) *merger {
	t.Helper()
	dev := cpu.New(1)
	t.Cleanup(func() { dev.Close() })
	m, err := openMerger(dev, model, &checkpoint.ModelConfig{ModelType: "llama", TieWordEmbeddings: true}, adapters)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// W + Σ (alpha/r)·B·A in float64, adapters one after another; a full copy replaces.
func TestMerge(t *testing.T) {
	model, adapter := modelFolder(t)
	m := merge(t, model, adapter, adapter)
	want := []string{"model.embed_tokens.weight", "model.layers.2.mlp.up_proj.weight", "model.layers.10.mlp.up_proj.weight", "model.norm.weight"}
	if got := m.names(); !slices.Equal(got, want) {
		t.Errorf("names %v", got)
	}
	got, err := m.read("model.layers.2.mlp.up_proj.weight")
	if err != nil {
		t.Fatal(err)
	}
	w, a, b := ramp(12, 2), ramp(8, .5), ramp(6, .7)
	for o := range 3 {
		for i := range 4 {
			v := float64(w[4*o+i])
			for r := range 2 {
				v += 2 * 1.5 * float64(b[2*o+r]) * float64(a[4*r+i])
			}
			if math.Abs(v-float64(got[4*o+i])) > 1e-6 {
				t.Errorf("[%d, %d] is %v, want %v", o, i, got[4*o+i], v)
			}
		}
	}
	if got, err := m.read("model.embed_tokens.weight"); err != nil || !slices.Equal(got, ramp(24, 4)) || m.shape("model.embed_tokens.weight")[0] != 6 {
		t.Errorf("the embeddings are not the adapter's: %v, %v", got, err)
	}
}

// Files are filled up to the limit, the index names each tensor's file, and no file of an
// earlier export remains that would be taken for part of the model.
func TestShards(t *testing.T) {
	model, adapter := modelFolder(t)
	m := merge(t, model, adapter)
	dir := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		dtype string
		limit int64
		files []string
	}{
		{"float32", 1000, []string{"model.safetensors"}},
		{"float32", 112, []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}},
		{"bfloat16", 56, []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}},
		{"float16", 1000, []string{"model.safetensors"}},
	} {
		shards, total := plan(m, dtypes[c.dtype].size, c.limit)
		out, err := openTarget(dir, []string{model, adapter}, shardNames(len(shards)), false)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeModel(t.Context(), m, out.path(), c.dtype, shards, total); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(out.path(), storage.ConfigFile), "{}")
		if err := errors.Join(out.install(), out.abort()); err != nil {
			t.Fatal(err)
		}
		var files []string
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			files = append(files, e.Name())
		}
		if want := append([]string{exportFile, storage.ConfigFile}, c.files...); !slices.Equal(files, want) {
			t.Errorf("%s in %d bytes: %v", c.dtype, c.limit, files)
		}
		w, err := checkpoint.OpenWeights(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range m.names() {
			want, _ := m.read(n)
			got := make([]float32, len(want))
			if err := w.ReadFloat32(n, got); err != nil {
				t.Fatal(err)
			}
			tolerance := map[string]float64{"float32": 0, "float16": 1. / 2048, "bfloat16": 1. / 256}[c.dtype]
			for i := range want {
				if math.Abs(float64(got[i]-want[i])) > tolerance*math.Abs(float64(want[i])) {
					t.Errorf("%s %s[%d] is %v, want %v", c.dtype, n, i, got[i], want[i])
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConfigs(t *testing.T) {
	model, _ := modelFolder(t)
	base, err := checkpoint.ReadModelConfig(model)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "export.yaml")
	if err := os.WriteFile(file, []byte("model_name_or_path: "+model+"\nexport_dir: unused\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.LoadExport(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := savedModel{base, "float16", 6, false}.config(c)
	// The key order and spelling of transformers: json.dumps(indent=2, sort_keys=True).
	if want := `{
  "eos_token_id": 2,
  "hidden_size": 4,
  "intermediate_size": 3,
  "model_type": "llama",
  "num_attention_heads": 2,
  "num_hidden_layers": 11,
  "rms_norm_eps": 1e-05,
  "tie_word_embeddings": true,
  "torch_dtype": "float16",
  "use_cache": true,
  "vocab_size": 6
}
`; string(text) != want {
		t.Errorf("got %s", text)
	}
	for in, want := range map[string]string{
		"":                                       `{"_from_model_config":true,"eos_token_id":2}`,
		`{"temperature":0.6,"do_sample":false}`:  `{"do_sample":true,"temperature":0.6}`,
		`{"top_p":0.9}`:                          `{"do_sample":true,"top_p":0.9}`,
		`{"temperature":1.0,"do_sample":false}`:  `{"do_sample":false,"temperature":1.0}`,
		`{"temperature":0.6,"do_sample":true}`:   `{"do_sample":true,"temperature":0.6}`,
		`{"max_length":10,"typical_p":1,"a":[]}`: `{"a":[],"max_length":10,"typical_p":1}`,
	} {
		if in != "" {
			if err := os.WriteFile(filepath.Join(model, "generation_config.json"), []byte(in), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		g, err := checkpoint.ReadGenerationConfig(model)
		if err != nil {
			t.Fatal(err)
		}
		text := g.Encode()
		var got bytes.Buffer
		if err := json.Compact(&got, text); err != nil || got.String() != want {
			t.Errorf("%s becomes %s, want %s (%v)", in, got.String(), want, err)
		}
		_ = os.Remove(filepath.Join(model, "generation_config.json"))
	}
	c.Model.RopeScaling = "linear"
	text = savedModel{base, "float16", 6, true}.config(c)
	for _, want := range []string{`"factor": 2.0`, `"rope_type": "linear"`, `"max_position_embeddings": 4096`, `"tie_word_embeddings": false`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

// Low-rank adapters on embeddings and head: W + s·(B·A)ᵀ and W + s·B·A, and a tied model's
// two are parted. The numbers are added up here.
func TestMergeEmbeddings(t *testing.T) {
	model, adapter := modelFolder(t)
	text := `{"peft_type":"LORA","r":2,"lora_alpha":3,"target_modules":["embed_tokens","lm_head"]}`
	if err := os.WriteFile(filepath.Join(adapter, "adapter_config.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	a, b, c, d := ramp(10, .5), ramp(8, .7), ramp(8, .3), ramp(10, .9)
	if err := checkpoint.WriteSafetensors(filepath.Join(adapter, storage.AdapterFile), nil, []checkpoint.Tensor{
		{Name: peftPrefix + "model.embed_tokens.lora_embedding_A", Shape: []int{2, 5}, F32: a},
		{Name: peftPrefix + "model.embed_tokens.lora_embedding_B", Shape: []int{4, 2}, F32: b},
		{Name: peftPrefix + "lm_head.lora_A.weight", Shape: []int{2, 4}, F32: c},
		{Name: peftPrefix + "lm_head.lora_B.weight", Shape: []int{5, 2}, F32: d},
	}); err != nil {
		t.Fatal(err)
	}
	m := merge(t, model, adapter)
	embeddings, err := m.read(m.embeddingsName())
	if err != nil {
		t.Fatal(err)
	}
	head, err := m.read(m.headName())
	if err != nil || !m.untied {
		t.Fatal(err, m.untied)
	}
	base := ramp(20, 1)
	for v := range 5 {
		for h := range 4 {
			e, w := float64(base[4*v+h]), float64(base[4*v+h])
			for k := range 2 {
				e += 1.5 * float64(b[2*h+k]) * float64(a[5*k+v])
				w += 1.5 * float64(d[2*v+k]) * float64(c[4*k+h])
			}
			if math.Abs(e-float64(embeddings[4*v+h])) > 1e-6 || math.Abs(w-float64(head[4*v+h])) > 1e-6 {
				t.Errorf("[%d, %d]: embeddings %v, want %v; head %v, want %v", v, h, embeddings[4*v+h], e, head[4*v+h], w)
			}
		}
	}
}

// An adapter with its own embeddings or head unties a tied model's: the table that it does not
// have stays the base's.
func TestMergeUnties(t *testing.T) {
	for brings, want := range map[string][2][]float32{
		"model.embed_tokens.weight": {ramp(20, 9), ramp(20, 1)},
		"lm_head.weight":            {ramp(20, 1), ramp(20, 9)},
	} {
		model, adapter := modelFolder(t)
		text := `{"peft_type":"LORA","r":2,"lora_alpha":3,"target_modules":["up_proj"],"modules_to_save":["embed_tokens"]}`
		if err := os.WriteFile(filepath.Join(adapter, "adapter_config.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := checkpoint.WriteSafetensors(filepath.Join(adapter, storage.AdapterFile), nil, []checkpoint.Tensor{{Name: peftPrefix + brings, Shape: []int{5, 4}, F32: ramp(20, 9)}}); err != nil {
			t.Fatal(err)
		}
		m := merge(t, model, adapter)
		if names := m.names(); !m.untied || names[len(names)-1] != "lm_head.weight" {
			t.Errorf("%s: names %v", brings, names)
		}
		for i, name := range []string{"model.embed_tokens.weight", "lm_head.weight"} {
			if got, err := m.read(name); err != nil || !slices.Equal(got, want[i]) {
				t.Errorf("%s brought: %s is another (%v)", brings, name, err)
			}
		}
	}
}

// An adapter of which a part would be ignored, and folders that would be overwritten, are
// refused by name.
func TestExportRefusals(t *testing.T) {
	model, adapter := modelFolder(t)
	dev := cpu.New(1)
	defer dev.Close()
	open := func(name string, shape []int, tied bool) error {
		dir := t.TempDir()
		n := elements(shape)
		if err := checkpoint.WriteSafetensors(filepath.Join(dir, storage.AdapterFile), nil, []checkpoint.Tensor{{Name: peftPrefix + name, Shape: shape, F32: ramp(n, 1)}}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(adapter, "adapter_config.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), text, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err = openMerger(dev, model, &checkpoint.ModelConfig{ModelType: "llama", TieWordEmbeddings: tied}, []string{dir})
		return err
	}
	yaml := filepath.Join(t.TempDir(), "e.yaml")
	text := "model_name_or_path: " + model + "\nadapter_name_or_path: " + adapter + "\ntemplate: default\nexport_dir: "
	if err := os.WriteFile(yaml, []byte(text+model+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	folder, quantised := openMerger(dev, "../../model/decoder/testdata/quantised/nf4", &checkpoint.ModelConfig{ModelType: "llama"}, nil)
	if err := folder.Close(); err != nil {
		t.Fatal(err)
	}
	folder, decoded := openMerger(dev, "../../model/decoder/testdata/grouped/awq", &checkpoint.ModelConfig{ModelType: "qwen2"}, nil)
	if err := folder.Close(); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{
		"which the model does not have":                    open("model.layers.3.mlp.up_proj.lora_A.weight", []int{2, 4}, false),
		`lora_A.weight" [2 3] does not fit`:                open("lm_head.lora_A.weight", []int{2, 3}, true),
		"does not fit the model's":                         open("model.layers.2.mlp.up_proj.lora_A.weight", []int{2, 3}, false),
		"[2 4] does not fit":                               open("model.layers.2.mlp.up_proj.lora_A.weight", []int{2, 4}, false), // B is missing
		"embed_tokens.weight\" [5 4]":                      open("model.embed_tokens.lora_embedding_A", []int{2, 5}, false),
		"e.yaml:4:13: export_dir: it is the source folder": export(t.Context(), yaml, nil, false),
		"it is the source folder":                          export(t.Context(), yaml, []string{"export_dir=" + adapter}, false),
		"exporting quantised weights":                      export(t.Context(), yaml, []string{"export_quantization_bit=4"}, false),
		"quantised weights are not exported":               export(t.Context(), yaml, []string{"quantization_bit=4"}, false),
		"is quantised (nf4)":                               quantised,
		"is quantised (AWQ int4)":                          decoded,
		"pickled .bin weights are never written":           export(t.Context(), yaml, []string{"export_legacy_format=true"}, false),
		"a shard needs a positive size in GB":              export(t.Context(), yaml, []string{"export_size=0"}, false),
		"is not one of auto, float16, bfloat16":            export(t.Context(), yaml, []string{"infer_dtype=int8"}, false),
		"model_name_or_path: /nowhere":                     export(t.Context(), yaml, []string{"model_name_or_path=/nowhere"}, false),
		"did you mean export_size?":                        export(t.Context(), yaml, []string{"export_siz=3"}, false),
		"name the folder the model is exported to":         export(t.Context(), yaml, []string{"export_dir=null"}, false),
		"an adapter needs finetuning_type: lora":           export(t.Context(), yaml, []string{"finetuning_type=full"}, false),
		"tokenizer.json":                                   export(t.Context(), yaml, []string{"export_dir=" + filepath.Join(t.TempDir(), "out")}, false),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
}
