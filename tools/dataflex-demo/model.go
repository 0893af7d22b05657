package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/tools/randommodel"
	"dataflex.dev/dataflex/tools/tasks"
)

// trained is the tiny model made by `make demo-model`: a llama of 0.35 M parameters that was
// trained on every family of tasks except the target.
//
//go:embed model
var trained embed.FS

// shape is the tiny model's.
var shape = randommodel.Shape{
	Vocab: vocabulary, Hidden: 96, Intermediate: 256, Layers: 3, Heads: 6, KVHeads: 3, Head: 16, MaxPositions: 256, RopeTheta: 10000, EOS: vocabulary - 3,
}

const (
	vocabulary   = 512
	pretrainRows = 400 // of each family
	pretrainSeed = 7
	demoSeed     = 11
)

// extract writes the embedded model to a folder.
func extract(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return fs.WalkDir(trained, "model", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := trained.ReadFile(path)
		if err != nil {
			return err
		}
		return storage.WriteFile(filepath.Join(dir, filepath.Base(path)), raw)
	})
}

// trainModel trains the tiny model from scratch: a tokenizer from the texts, random weights,
// then full fine-tuning on all known families.
func trainModel(ctx context.Context, out, work string) error {
	start := filepath.Join(work, "start")
	if err := os.MkdirAll(start, 0o755); err != nil {
		return err
	}
	rows := tasks.Make(pretrainSeed, pretrainRows, 0, tasks.Known())
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
	if err := randommodel.Write(start, shape, pretrainSeed); err != nil {
		return err
	}
	if err := tasks.Write(work, map[string][]tasks.Row{"pretrain": rows}); err != nil {
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
		if err := storage.WriteFile(filepath.Join(out, to), raw); err != nil {
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
