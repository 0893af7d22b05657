package report

import (
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// CardName is the model card's file name.
const CardName = "README.md"

// Card is the content of the model card.
type Card struct {
	BaseModel      string   // as the configuration names it
	Datasets       []string // training sets, by name
	FinetuningType string   // lora, full, freeze
	Method         string   // what decided on the data: "dynamic_select: less"; "" for static training

	LearningRate                  float64
	TrainBatchSize, EvalBatchSize int // rows of a micro-batch
	Accumulation                  int // micro-batches of an optimizer step
	Seed                          int64
	Optimizer                     string // Hugging Face's name: adamw_torch
	Beta1, Beta2, Epsilon         float64
	Scheduler                     string
	WarmupRatio                   float64 // 0 = none
	WarmupSteps                   int     // 0 = none
	Epochs                        float64
	MaxSteps                      int // 0 or less = from the epochs
	FP16                          bool
	LabelSmoothing                float64 // 0 = none

	History []pyjson.Object // log_history, for the results
	Version string          // of this program; "" leaves the section out
}

// WriteCard writes README.md: front matter that the Hub reads, the hyperparameters
// in Hugging Face's names and order, and the evaluations.
func WriteCard(dir string, c Card) error {
	full, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("model card: %w", err)
	}
	name := filepath.Base(full)
	var b strings.Builder
	c.frontMatter(&b, name)
	fmt.Fprintf(&b, "\n# %s\n\nThis model is a fine-tuned version of %s%s.\n", markdown(name), link(c.BaseModel), onDatasets(c.Datasets))
	if c.Method != "" {
		fmt.Fprintf(&b, "DataFlex decided during training what to train on (%s).\n", markdown(c.Method))
	}
	evals := evaluations(c.History)
	if len(evals) > 0 {
		b.WriteString("Results of the last evaluation:\n\n")
		for _, f := range evals[len(evals)-1].metrics {
			fmt.Fprintf(&b, "- %s: %s\n", markdown(heading(f.Key)), cell(f.Value))
		}
	}
	for _, h := range []string{"Model description", "Intended uses & limitations", "Training and evaluation data"} {
		fmt.Fprintf(&b, "\n## %s\n\nMore information needed\n", h)
	}
	b.WriteString("\n## Training procedure\n\n### Training hyperparameters\n\n")
	for _, f := range c.hyperparameters() {
		fmt.Fprintf(&b, "- %s: %s\n", f.Key, markdown(plain(f.Value)))
	}
	if len(evals) > 0 {
		b.WriteString("\n### Training results\n\n")
		WriteTable(&b, resultTable(evals))
	}
	if c.Version != "" {
		fmt.Fprintf(&b, "\n### Framework versions\n\n- DataFlex (Go) %s\n", c.Version)
	}
	return storage.WriteFile(filepath.Join(dir, CardName), []byte(b.String()))
}

func (c *Card) frontMatter(b *strings.Builder, name string) {
	library, tags := "transformers", []string{"llama-factory", c.FinetuningType, "generated_from_trainer"}
	if c.FinetuningType == "lora" {
		library, tags = "peft", []string{"base_model:adapter:" + c.BaseModel, "llama-factory", "lora", "transformers"}
	}
	fmt.Fprintf(b, "---\nlibrary_name: %s\nlicense: other\nbase_model: %s\ntags:\n", library, yamlText(c.BaseModel))
	for _, t := range tags {
		fmt.Fprintf(b, "- %s\n", yamlText(t))
	}
	fmt.Fprintf(b, "pipeline_tag: text-generation\nmodel-index:\n- name: %s\n  results: []\n---\n", yamlText(name))
}

func (c *Card) hyperparameters() pyjson.Object {
	o := pyjson.Object{
		{Key: "learning_rate", Value: c.LearningRate},
		{Key: "train_batch_size", Value: c.TrainBatchSize},
		{Key: "eval_batch_size", Value: c.EvalBatchSize},
		{Key: "seed", Value: int(c.Seed)},
	}
	if c.Accumulation > 1 {
		o = append(o, pyjson.Field{Key: "gradient_accumulation_steps", Value: c.Accumulation}, pyjson.Field{Key: "total_train_batch_size", Value: c.TrainBatchSize * c.Accumulation})
	}
	optimizer := c.Optimizer
	if strings.Contains(optimizer, "adam") {
		optimizer = fmt.Sprintf("%s with betas=(%s,%s) and epsilon=%s", optimizer, pyjson.Float(c.Beta1), pyjson.Float(c.Beta2), pyjson.Float(c.Epsilon))
	}
	o = append(o,
		pyjson.Field{Key: "optimizer", Value: optimizer},
		pyjson.Field{Key: "lr_scheduler_type", Value: c.Scheduler})
	if c.WarmupRatio != 0 {
		o = append(o, pyjson.Field{Key: "lr_scheduler_warmup_ratio", Value: c.WarmupRatio})
	}
	if c.WarmupSteps != 0 {
		o = append(o, pyjson.Field{Key: "lr_scheduler_warmup_steps", Value: c.WarmupSteps})
	}
	if c.MaxSteps > 0 {
		o = append(o, pyjson.Field{Key: "training_steps", Value: c.MaxSteps})
	} else {
		o = append(o, pyjson.Field{Key: "num_epochs", Value: c.Epochs})
	}
	if c.FP16 {
		o = append(o, pyjson.Field{Key: "mixed_precision_training", Value: "Native AMP"})
	}
	if c.LabelSmoothing != 0 {
		o = append(o, pyjson.Field{Key: "label_smoothing_factor", Value: c.LabelSmoothing})
	}
	return o
}

// evaluation is the metrics of the evaluations at one step.
type evaluation struct {
	step, epoch, trainLoss any
	metrics                pyjson.Object // without run times
}

// evaluations collects a history's evaluations, merging those of several sets at one step.
func evaluations(history []pyjson.Object) []evaluation {
	var out []evaluation
	trainLoss := any("No log")
	for _, h := range history {
		if loss := h.Get("loss"); loss != nil {
			trainLoss = loss
		}
		var metrics pyjson.Object
		for _, f := range h {
			isTiming := strings.HasSuffix(f.Key, "_runtime") || strings.HasSuffix(f.Key, "_per_second")
			if strings.HasPrefix(f.Key, "eval_") && !isTiming {
				metrics = append(metrics, f)
			}
		}
		if len(metrics) == 0 {
			continue
		}
		step := h.Get("step")
		if n := len(out); n == 0 || out[n-1].step != step {
			out = append(out, evaluation{step: step, epoch: h.Get("epoch"), trainLoss: trainLoss})
		}
		last := &out[len(out)-1]
		for _, m := range metrics {
			last.metrics.Set(m.Key, m.Value)
		}
	}
	return out
}

func resultTable(evals []evaluation) [][]string {
	var keys []string
	for _, e := range evals {
		for _, m := range e.metrics {
			if !slices.Contains(keys, m.Key) {
				keys = append(keys, m.Key)
			}
		}
	}
	head := []string{"Training Loss", "Epoch", "Step"}
	for _, k := range keys {
		if k == "eval_loss" {
			head = append(head, "Validation Loss")
		} else {
			head = append(head, heading(k))
		}
	}
	table := [][]string{head}
	for _, e := range evals {
		row := []string{cell(e.trainLoss), cell(e.epoch), cell(e.step)}
		for _, k := range keys {
			row = append(row, cell(e.metrics.Get(k)))
		}
		table = append(table, row)
	}
	return table
}

// heading is a metric's display name: eval_pool_loss is "Pool Loss".
func heading(key string) string {
	words := strings.Split(strings.TrimPrefix(key, "eval_"), "_")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}

// cell is a value of a table, to four decimals.
func cell(v any) string {
	f, ok := v.(float64)
	switch {
	case v == nil:
		return ""
	case !ok:
		return plain(v)
	case f != 0 && math.Abs(f) < 1e-3:
		return fmt.Sprintf("%.4g", f)
	}
	return pyjson.Float(Round(f, 4))
}

func plain(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return pyjson.Encode(v, 0)
}

// link links to the Hub where a name has the Hub's form, owner/name; a folder is only named.
func link(model string) string {
	owner, name, _ := strings.Cut(model, "/")
	_, err := os.Stat(model)
	if err == nil || owner == "" || name == "" || owner[0] == '.' || strings.Contains(name, "/") {
		return code(model)
	}
	return fmt.Sprintf("[%s](https://huggingface.co/%s/%s)", markdown(model), url.PathEscape(owner), url.PathEscape(name))
}

func onDatasets(names []string) string {
	names = slices.Clone(names)
	for i, n := range names {
		names[i] = markdown(n)
	}
	switch n := len(names); n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(" on the %s dataset", names[0])
	default:
		return fmt.Sprintf(" on the %s and %s datasets", strings.Join(names[:n-1], ", "), names[n-1])
	}
}

// yamlText is a YAML scalar that reads back as exactly this string: bare where that is
// unambiguous, else double-quoted, for which JSON's form is valid YAML.
func yamlText(s string) string {
	safe := s != "" && strings.IndexFunc(s[:1], func(r rune) bool { return r < 'A' || r > 'z' || r > 'Z' && r < 'a' }) < 0
	for _, r := range s {
		safe = safe && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:", r))
	}
	reserved := []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
	if !safe || strings.HasSuffix(s, ":") || slices.Contains(reserved, strings.ToLower(s)) {
		return pyjson.Encode(s, 0)
	}
	return s
}
