package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"dataflex.dev/dataflex/data/pyjson"
)

func sampleCard() Card {
	return Card{
		BaseModel: "Qwen/Qwen2.5-0.5B", Datasets: []string{"alpaca", "glaive", "identity"}, FinetuningType: "lora", Method: "dynamic_select: less",
		LearningRate: 1e-05, TrainBatchSize: 2, EvalBatchSize: 3, Accumulation: 4, Seed: 42,
		Optimizer: "adamw_torch", Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Scheduler: "cosine", WarmupRatio: 0.1, Epochs: 3, LabelSmoothing: 0.1,
		Version: "1.0",
		History: []pyjson.Object{
			{{Key: "eval_loss", Value: 3.0}, {Key: "step", Value: 0}, {Key: "epoch", Value: 0.0}},
			{{Key: "loss", Value: 2.5}, {Key: "step", Value: 5}},
			{{Key: "eval_loss", Value: 2.1234567}, {Key: "eval_runtime", Value: 1.0}, {Key: "eval_samples_per_second", Value: 8.0}, {Key: "epoch", Value: 0.16666666}, {Key: "step", Value: 5}},
		},
	}
}

func writeCard(t *testing.T, c Card) (text string, front map[string]any) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "my-sft")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteCard(dir, c); err != nil {
		t.Fatal(err)
	}
	text = read(t, dir, CardName)
	parts := strings.SplitN(text, "---\n", 3)
	if len(parts) != 3 || parts[0] != "" {
		t.Fatalf("no front matter in\n%s", text)
	}
	if err := yaml.Unmarshal([]byte(parts[1]), &front); err != nil {
		t.Fatal(err)
	}
	return text, front
}

func TestCardOfAnAdapter(t *testing.T) {
	const want = `---
library_name: peft
license: other
base_model: Qwen/Qwen2.5-0.5B
tags:
- base_model:adapter:Qwen/Qwen2.5-0.5B
- llama-factory
- lora
- transformers
pipeline_tag: text-generation
model-index:
- name: my-sft
  results: []
---

# my-sft

This model is a fine-tuned version of [Qwen/Qwen2.5-0.5B](https://huggingface.co/Qwen/Qwen2.5-0.5B) on the alpaca, glaive and identity datasets.
DataFlex decided during training what to train on (dynamic_select: less).
Results of the last evaluation:

- Loss: 2.1235

## Model description

More information needed

## Intended uses & limitations

More information needed

## Training and evaluation data

More information needed

## Training procedure

### Training hyperparameters

- learning_rate: 1e-05
- train_batch_size: 2
- eval_batch_size: 3
- seed: 42
- gradient_accumulation_steps: 4
- total_train_batch_size: 8
- optimizer: adamw_torch with betas=(0.9,0.999) and epsilon=1e-08
- lr_scheduler_type: cosine
- lr_scheduler_warmup_ratio: 0.1
- num_epochs: 3.0
- label_smoothing_factor: 0.1

### Training results

| Training Loss | Epoch | Step | Validation Loss |
|---|---|---|---|
| No log | 0.0 | 0 | 3.0 |
| 2.5 | 0.1667 | 5 | 2.1235 |

### Framework versions

- DataFlex (Go) 1.0
`
	text, front := writeCard(t, sampleCard())
	if text != want {
		t.Errorf("got\n%s", text)
	}
	if front["base_model"] != "Qwen/Qwen2.5-0.5B" || front["library_name"] != "peft" {
		t.Errorf("front matter: %v", front)
	}
}

func TestCardOfAFullModelWithSeveralSets(t *testing.T) {
	c := Card{
		BaseModel: `/data/模型: "x" #1`, FinetuningType: "full", Accumulation: 1, WarmupSteps: 7, MaxSteps: 20, FP16: true,
		History: []pyjson.Object{
			{{Key: "eval_a_loss", Value: 1.0}, {Key: "eval_a_runtime", Value: 1.0}, {Key: "step", Value: 5}},
			{{Key: "eval_b|c_loss", Value: 0.00001}, {Key: "step", Value: 5}},
		},
	}
	text, front := writeCard(t, c)
	if front["base_model"] != c.BaseModel || front["library_name"] != "transformers" {
		t.Errorf("front matter: %v", front)
	}
	for _, line := range []string{
		"This model is a fine-tuned version of `" + c.BaseModel + "`.", "- lr_scheduler_warmup_steps: 7", "- training_steps: 20", "- mixed_precision_training: Native AMP",
		"- A Loss: 1.0", "| Training Loss | Epoch | Step | A Loss | B\\|c Loss |", "| No log |  | 5 | 1.0 | 1e-05 |",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	for _, absent := range []string{"total_train_batch_size", "num_epochs", "warmup_ratio", "label_smoothing", "Framework"} {
		if strings.Contains(text, absent) {
			t.Errorf("%s in\n%s", absent, text)
		}
	}
}

func TestYAMLTextReadsBack(t *testing.T) {
	for _, s := range []string{"", "a", "no", "True", "null", "1.5", "1e3", "a:b", "a: b", "a:", "- a", "#x", "a #x", "../models/x", "~", ".inf", "日本😀", "tab\t", `q"\`, "0x1F", "a b"} {
		var back any
		if err := yaml.Unmarshal([]byte("k: "+yamlText(s)), &back); err != nil {
			t.Errorf("%q as %s: %v", s, yamlText(s), err)
			continue
		}
		if got := back.(map[string]any)["k"]; got != s {
			t.Errorf("%q as %s reads back as %T %v", s, yamlText(s), got, got)
		}
	}
}
