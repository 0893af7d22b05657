package cache

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// golden holds runs recorded from LLaMA-Factory and DataFlex; it is not part of the
// project.
const golden = "../../../shared/golden"

// runConfig is a recorded config.yaml: flat keys, plain values.
type runConfig map[string]string

func readConfig(t *testing.T, run string) runConfig {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(golden, "runs", run, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c := runConfig{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		c[key] = value
	}
	return c
}

func (c runConfig) number(key string) float64 {
	v, _ := strconv.ParseFloat(c[key], 64)
	return v
}

// tokenizer loads the run's tokenizer and template and adapts the tokenizer.
func (c runConfig) tokenizer(t *testing.T) (*tokenizer.Tokenizer, *template.Template) {
	t.Helper()
	tok, err := tokenizer.Load(filepath.Join(golden, c["model_name_or_path"]))
	if err != nil {
		t.Fatal(err)
	}
	name := c["template"]
	if name == "" {
		name = "empty"
	}
	tmpl, err := template.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.FixTokenizer(tok)
	return tok, tmpl
}

// examples runs everything from dataset_info.json to the training examples.
func (c runConfig) examples(t *testing.T) []data.Example {
	t.Helper()
	o := Options{
		DatasetDir: filepath.Join(golden, c["dataset_dir"]), Train: strings.Split(c["dataset"], ","), ValSize: c.number("val_size"),
		MaxSamples: int(c.number("max_samples")), Seed: uint64(c.number("seed")), Mix: dataset.Mix(c["mix_strategy"]),
		Pretrain: c["stage"] == "pt", Dir: t.TempDir(),
		Process: processor.Options{
			CutoffLen: int(c.number("cutoff_len")), NeatPacking: c["neat_packing"] == "true",
			MaskHistory: c["mask_history"] == "true", TrainOnPrompt: c["train_on_prompt"] == "true",
		},
	}
	if probs := c["interleave_probs"]; probs != "" {
		for p := range strings.SplitSeq(probs, ",") {
			v, err := strconv.ParseFloat(p, 64)
			if err != nil {
				t.Fatal(err)
			}
			o.Probs = append(o.Probs, v)
		}
	}
	if p, ok := c["packing"]; ok {
		packing := p == "true"
		o.Process.Packing = &packing
	}
	o.Tokenizer, o.Template = c.tokenizer(t)
	d, err := Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	for _, w := range d.Warnings {
		if strings.Contains(w, "dropped") {
			t.Fatal(w)
		}
	}
	return d.Train
}

// labelsOf counts the labels that contribute to the loss: unshifted (the divisor of an
// optimizer step's loss), and after the shift by one.
func labelsOf(labels []int32) (standing, shifted int) {
	for i, l := range labels {
		if l != data.IgnoreIndex {
			standing++
			if i > 0 {
				shifted++
			}
		}
	}
	return standing, shifted
}

type microBatch struct {
	Rows        []int
	LabelTokens int       `json:"n_label_tokens"`
	Shape       [2]int    `json:"shape"`
	Heads       [][]int32 `json:"input_ids_head"`
	Domains     []int     `json:"domain_id"`
}

func readTrace(t *testing.T, run string) []microBatch {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(golden, "runs", run, "trace.json"))
	if err != nil {
		t.Fatal(err)
	}
	var trace struct {
		MicroBatches []microBatch `json:"micro_batches"`
	}
	if err := json.Unmarshal(text, &trace); err != nil {
		t.Fatal(err)
	}
	return trace.MicroBatches
}

// TestGoldenMixtures looks up every row of the recorded mixtures among the blocks of its
// domain. Those runs asked for packing explicitly, so that blocks are one token shorter.
func TestGoldenMixtures(t *testing.T) {
	for _, run := range []string{"mix_static", "mix_random", "mix_odm", "mix_doremi"} {
		if _, err := os.Stat(filepath.Join(golden, "runs", run)); err != nil {
			t.Skip("../shared/golden is not here")
		}
		c := readConfig(t, run)
		var domains []map[string]int
		for name := range strings.SplitSeq(c["dataset"], ",") {
			blocks := map[string]int{}
			c["dataset"] = name
			for _, e := range c.examples(t) {
				_, labels := labelsOf(e.Labels)
				blocks[fmt.Sprint(e.InputIDs[:12])] = labels
			}
			domains = append(domains, blocks)
		}
		for i, b := range readTrace(t, run) {
			labels := 0
			for k, head := range b.Heads {
				n, ok := domains[b.Domains[k]][fmt.Sprint(head)]
				if !ok {
					t.Errorf("%s batch %d row %d: no block of domain %d starts with %v", run, i, k, b.Domains[k], head)
				}
				labels += n
			}
			if labels != b.LabelTokens || b.Shape[1] != 255 {
				t.Errorf("%s batch %d: %d labels, want %d; shape %v", run, i, labels, b.LabelTokens, b.Shape)
			}
		}
	}
}

// TestGoldenRuns compares every recorded micro-batch: its labels after the shift, its
// padded shape and, where recorded, the first ids of its rows.
func TestGoldenRuns(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(golden, "runs", "*", "trace.json"))
	if err != nil || len(paths) == 0 {
		t.Skip("../shared/golden is not here")
	}
	batches, runs := 0, 0
	for _, path := range paths {
		run := filepath.Base(filepath.Dir(path))
		c := readConfig(t, run)
		if kind := c["train_type"]; kind == "dynamic_mix" || kind == "dynamic_reorder" || kind == "dynamic_lego" {
			continue // their rows are numbers in a mixture or in another order
		}
		examples := c.examples(t)
		order := rng.NewTorch(uint64(c.number("seed"))).Randperm(len(examples))
		runs++
		for i, b := range readTrace(t, run) {
			if b.Rows == nil { // pre-training: the first epoch is torch's randperm of the blocks
				if (i+1)*b.Shape[0] > len(order) {
					break
				}
				b.Rows = order[i*b.Shape[0] : (i+1)*b.Shape[0]]
			}
			compareBatch(t, run, i, b, examples, c["stage"] == "pt")
			batches++
		}
	}
	t.Logf("%d micro-batches of %d runs", batches, runs)
	if runs < 20 {
		t.Errorf("only %d runs were compared", runs)
	}
}

func compareBatch(t *testing.T, run string, number int, b microBatch, examples []data.Example, pretrain bool) {
	t.Helper()
	var rows []data.Example
	labels := 0
	for i, r := range b.Rows {
		e := examples[r]
		rows = append(rows, e)
		_, shifted := labelsOf(e.Labels)
		labels += shifted
		if i < len(b.Heads) && !slices.Equal(b.Heads[i], e.InputIDs[:len(b.Heads[i])]) {
			t.Errorf("%s batch %d row %d: ids %v, want %v", run, number, r, e.InputIDs[:len(b.Heads[i])], b.Heads[i])
		}
	}
	multiple := processor.PaddingMultiple
	if pretrain {
		multiple = 1
	}
	if shape := [2]int{len(rows), processor.PaddedLength(rows, multiple)}; shape != b.Shape || labels != b.LabelTokens {
		t.Errorf("%s batch %d rows %v: shape %v with %d labels, want %v with %d", run, number, b.Rows, shape, labels, b.Shape, b.LabelTokens)
	}
}
