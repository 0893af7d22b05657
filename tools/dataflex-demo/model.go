package main

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"dataflex/model/checkpoint"
)

// trained is the tiny model that `make demo-model` made: a llama of 0.35 M
// parameters that has seen every family of tasks.
//
//go:embed model
var trained embed.FS

// shape is the tiny model's config.json.
var shape = map[string]any{
	"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "initializer_range": 0.02,
	"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 16,
	"max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": nil, "tie_word_embeddings": true,
	"attention_bias": false, "mlp_bias": false, "torch_dtype": "float32", "use_cache": true, "vocab_size": vocabulary,
	"bos_token_id": nil, "eos_token_id": vocabulary - 3, "pad_token_id": vocabulary - 3,
}

const (
	vocabulary   = 512
	pretrainRows = 400 // of each family
	pretrainSeed = 7
	demoSeed     = 11
)

// extract writes the embedded model into a folder.
func extract(dir string) error {
	return fs.WalkDir(trained, "model", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := trained.ReadFile(path)
		if err != nil {
			return err
		}
		return checkpoint.WriteFile(filepath.Join(dir, filepath.Base(path)), raw)
	})
}

// trainModel makes the tiny model from nothing: a tokenizer from the texts,
// random weights, then full fine-tuning on all families.
func trainModel(ctx context.Context, out, work string) error {
	start := filepath.Join(work, "start")
	if err := os.MkdirAll(start, 0o755); err != nil {
		return err
	}
	rows := instructionSet(pretrainSeed, pretrainRows, 0)
	var texts []string
	for _, r := range rows {
		texts = append(texts, r.Instruction, r.Output)
	}
	vocab, merges := trainBPE(append(texts, "user", "assistant", "\n"), vocabulary-len(specials))
	if len(vocab) != vocabulary-len(specials) {
		return fmt.Errorf("the texts give a vocabulary of %d, %d were wanted", len(vocab), vocabulary-len(specials))
	}
	if err := writeTokenizer(start, vocab, merges); err != nil {
		return err
	}
	if err := writeStart(start); err != nil {
		return err
	}
	if err := writeDatasets(work, map[string][]row{"pretrain": rows}); err != nil {
		return err
	}
	result := filepath.Join(work, "pretrained")
	yaml := fmt.Sprintf(pretrainYAML, start, work, result)
	if err := runYAML(ctx, filepath.Join(work, "pretrain.yaml"), yaml); err != nil {
		return err
	}
	for from, to := range map[string]string{
		filepath.Join(result, "model.safetensors"): "model.safetensors", filepath.Join(start, "config.json"): "config.json",
		filepath.Join(start, "tokenizer.json"): "tokenizer.json", filepath.Join(start, "tokenizer_config.json"): "tokenizer_config.json",
	} {
		raw, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := checkpoint.WriteFile(filepath.Join(out, to), raw); err != nil {
			return err
		}
	}
	return nil
}

const pretrainYAML = `# the demo's tiny model, from random weights
model_name_or_path: %s
stage: sft
do_train: true
finetuning_type: full
dataset_dir: %s
dataset: pretrain
template: chatml
cutoff_len: 128
output_dir: %s
overwrite_output_dir: true
per_device_train_batch_size: 32
gradient_accumulation_steps: 1
learning_rate: 3.0e-3
lr_scheduler_type: cosine
warmup_ratio: 0.05
num_train_epochs: 16.0
logging_steps: 50
save_strategy: "no"
seed: 1
`

// writeStart writes config.json and random weights, normal with the usual
// standard deviation, norms one.
func writeStart(dir string) error {
	raw, err := json.MarshalIndent(shape, "", "  ")
	if err != nil {
		return err
	}
	if err := checkpoint.WriteFile(filepath.Join(dir, "config.json"), append(raw, '\n')); err != nil {
		return err
	}
	hidden, kv, inner := shape["hidden_size"].(int), shape["num_key_value_heads"].(int)*shape["head_dim"].(int), shape["intermediate_size"].(int)
	r := rand.New(rand.NewPCG(pretrainSeed, 2))
	var tensors []checkpoint.Tensor
	normal := func(name string, rows, columns int) {
		t := checkpoint.Tensor{Name: name, Shape: []int{rows, columns}, F32: make([]float32, rows*columns)}
		for i := range t.F32 {
			t.F32[i] = float32(0.02 * r.NormFloat64())
		}
		tensors = append(tensors, t)
	}
	ones := func(name string) {
		t := checkpoint.Tensor{Name: name, Shape: []int{hidden}, F32: make([]float32, hidden)}
		for i := range t.F32 {
			t.F32[i] = 1
		}
		tensors = append(tensors, t)
	}
	normal("model.embed_tokens.weight", vocabulary, hidden)
	for l := range shape["num_hidden_layers"].(int) {
		p := fmt.Sprintf("model.layers.%d.", l)
		normal(p+"self_attn.q_proj.weight", hidden, hidden)
		normal(p+"self_attn.k_proj.weight", kv, hidden)
		normal(p+"self_attn.v_proj.weight", kv, hidden)
		normal(p+"self_attn.o_proj.weight", hidden, hidden)
		normal(p+"mlp.gate_proj.weight", inner, hidden)
		normal(p+"mlp.up_proj.weight", inner, hidden)
		normal(p+"mlp.down_proj.weight", hidden, inner)
		ones(p + "input_layernorm.weight")
		ones(p + "post_attention_layernorm.weight")
	}
	ones("model.norm.weight")
	return checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), map[string]string{"format": "pt"}, tensors)
}
