package train_test

import (
	"context"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// goldenNext has recorded runs of LLaMA-Factory 0.9.5: optimizers and kinds of adapters. Its
// files are copied over those of golden, whose models and data it uses.
const goldenNext = "../../../shared/golden-next"

// TestGoldenNextRuns replays them as TestGoldenRuns does.
func TestGoldenNextRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("whole runs take half a minute")
	}
	work := t.TempDir()
	for _, dir := range []string{golden, goldenNext} {
		for _, part := range []string{"models", "data"} {
			if _, err := os.Stat(filepath.Join(dir, part)); err != nil {
				t.Skip("no recorded runs here: ", err)
			}
			overlay(t, filepath.Join(work, part), filepath.Join(dir, part))
		}
	}
	overlay(t, filepath.Join(work, "runs"), filepath.Join(goldenNext, "runs"))
	t.Setenv("DATAFLEX_CACHE", filepath.Join(work, "tokenised"))
	t.Setenv("OMP_NUM_THREADS", "1")
	t.Chdir(work)
	for _, r := range []struct {
		name, start string
		loose       bool    // compare losses to 1e-2
		cosine      float64 // between the weights' update and upstream's
	}{
		{"adamw_torch_8step", "tiny-llama-lora", false, 0.999999},
		{"sgd", "tiny-llama-lora", false, 0.999999},
		{"adafactor", "tiny-llama-lora", false, 0.999999},
		{"full_adafactor", "tiny-llama", false, 0.999999},
		// Muon's bf16 iterations amplify a change in the seventh digit of the learning rate
		// to a cosine of 0.9999.
		{"lora_muon", "tiny-llama-lora", true, 0.9998},
		{"full_muon", "tiny-llama", true, 0.9998},
		{"dora", "tiny-llama-dora", false, 0.999999},
		// Upstream starts from an approximate decomposition, which differs by some 1e-3:
		// only the losses are compared.
		{"pissa", "", true, 0},
		{"qlora", "tiny-llama-lora", false, 0.999999},
		{"qlora_single", "tiny-llama-lora", false, 0.999999},
		{"int8", "tiny-llama-lora", false, 0.999999},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			theirs := filepath.Join("runs", "static_sft_"+r.name)
			out := filepath.Join("out", r.name)
			c, err := config.Load(filepath.Join(theirs, "config.yaml"), []string{"output_dir=" + out})
			if err != nil {
				t.Fatal(err)
			}
			if err := train.Run(context.Background(), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler)}); err != nil {
				t.Fatal(err)
			}
			if r.start == "" {
				compareLosses(t, out, theirs, 2e-3)
				return
			}
			compareLog(t, out, theirs, r.loose)
			if c := updateCosine(t, out, filepath.Join("models", r.start), theirs); !(c > r.cosine) {
				t.Errorf("the weights' update has cosine %v with upstream's", c)
			}
		})
	}
}

// compareLosses compares the logged losses with upstream's, relatively.
func compareLosses(t *testing.T, ours, theirs string, tolerance float64) {
	t.Helper()
	got, _ := losses(t, ours)
	var want struct {
		History []struct {
			Loss *float64 `json:"loss"`
		} `json:"log_history"`
	}
	readJSON(t, filepath.Join(theirs, "trace.json"), &want)
	for i, w := range want.History {
		if w.Loss != nil && math.Abs(got[i]-*w.Loss) > tolerance**w.Loss {
			t.Errorf("step %d: loss %v, recorded %v", i+1, got[i], *w.Loss)
		}
	}
}

// overlay copies the files of a folder over those of another.
func overlay(t *testing.T, dst, src string) {
	t.Helper()
	err := filepath.WalkDir(src, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, raw, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
