package train_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// TestGoldenPredictions: LLaMA-Factory's own files, byte for byte, and its metrics.
func TestGoldenPredictions(t *testing.T) {
	theirs, err := filepath.Abs(filepath.Join(goldenNext, "runs"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Skip("no recorded runs here: ", err)
	}
	out := t.TempDir()
	t.Chdir(golden)
	for _, name := range []string{"predict_batch", "predict_tools", "predict_zh"} {
		ours, theirs := filepath.Join(out, name), filepath.Join(theirs, name)
		predict(t, filepath.Join(theirs, "config.yaml"), "output_dir="+ours)
		got, want := readFile(t, filepath.Join(ours, "generated_predictions.jsonl")), readFile(t, filepath.Join(theirs, "generated_predictions.jsonl"))
		if !bytes.Equal(got, want) {
			t.Errorf("%s: other predictions:\n%s", name, got)
		}
		var figures, recorded map[string]any
		readJSON(t, filepath.Join(ours, "predict_results.json"), &figures)
		readJSON(t, filepath.Join(theirs, "predict_results.json"), &recorded)
		for key, want := range recorded {
			if got, _ := figures[key].(float64); math.Abs(got-want.(float64)) > 1e-4 {
				t.Errorf("%s: %s %v, recorded %v", name, key, figures[key], want)
			}
		}
	}
}

// TestPredict: predictions at the end of a training run, and without one.
func TestPredict(t *testing.T) {
	out := t.TempDir()
	t.Setenv("DATAFLEX_CACHE", filepath.Join(out, "tokenised"))
	keys := []string{
		"model_name_or_path=../../tools/dataflex-demo/model", "stage=sft", "finetuning_type=lora", "dataset_dir=../../data", "eval_dataset=everyday_eval", "template=default",
		"max_samples=5", "cutoff_len=96", "do_predict=true", "predict_with_generate=true", "max_new_tokens=6", "do_sample=false", "per_device_eval_batch_size=2",
	}
	folders := []string{filepath.Join(out, "trained"), filepath.Join(out, "asked")}
	predict(t, "", append(keys, "output_dir="+folders[0], "do_train=true", "dataset=everyday", "max_steps=1", "learning_rate=0")...)
	predict(t, "", append(keys, "output_dir="+folders[1], "do_eval=true")...)
	var answers [2][]byte
	for i, dir := range folders {
		answers[i] = readFile(t, filepath.Join(dir, "generated_predictions.jsonl"))
		lines := bytes.Split(bytes.TrimSpace(answers[i]), []byte("\n"))
		if len(lines) != 5 {
			t.Fatalf("%d lines", len(lines))
		}
		for _, l := range lines {
			var a map[string]string
			if err := json.Unmarshal(l, &a); err != nil || len(a) != 3 || !strings.Contains(a["prompt"], "Human: ") || a["label"] == "" {
				t.Errorf("%s: %v", l, err)
			}
		}
		var all map[string]any
		readJSON(t, filepath.Join(dir, "all_results.json"), &all)
		if all["predict_bleu-4"] == nil || (all["train_loss"] == nil) != (i == 1) || (all["eval_loss"] == nil) != (i == 0) {
			t.Errorf("%v", all)
		}
	}
	if !bytes.Equal(answers[0], answers[1]) { // a learning rate of 0 does not change the model
		t.Errorf("after training:\n%s\nwithout:\n%s", answers[0], answers[1])
	}
}

func predict(t *testing.T, file string, keys ...string) {
	t.Helper()
	c, err := config.Load(file, keys)
	if err != nil {
		t.Fatal(err)
	}
	if err := train.Run(context.Background(), c, train.Options{Device: "cpu", Out: os.Stderr, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
