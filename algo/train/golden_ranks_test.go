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

// recordedRanks has runs of LLaMA-Factory 0.9.4 and DataFlex on two processes.
const recordedRanks = "../../../shared/prototypes/scale/hf/upstream_w2"

// TestGoldenRanks: one process with ranks: 2 logs the same as two processes.
func TestGoldenRanks(t *testing.T) {
	theirs, err := filepath.Abs(recordedRanks)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{recordedRanks, golden} {
		if _, err := os.Stat(dir); err != nil {
			t.Skip("no recorded runs here: ", err)
		}
	}
	if testing.Short() {
		t.Skip("whole runs take half a minute")
	}
	recordedHere(t)
	for _, name := range []string{"static_sft_lora", "loss_high", "less_exact"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := filepath.Join("out", name)
			overrides := []string{"output_dir=" + out, "ranks=2"}
			if name != "static_sft_lora" {
				file := map[string]string{"loss_high": "components_loss_high.yaml", "less_exact": "components.yaml"}[name]
				overrides = append(overrides, "components_cfg_file="+components(t, file, name))
			}
			c, err := config.Load(filepath.Join("runs", name, "config.yaml"), overrides)
			if err != nil {
				t.Fatal(err)
			}
			if err := train.Run(context.Background(), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler)}); err != nil {
				t.Fatal(err)
			}
			var trace struct {
				Log []struct {
					Loss float64
					Norm float64 `json:"grad_norm"`
					Step int
				} `json:"log_history"`
			}
			readJSON(t, filepath.Join(theirs, name, "rank0.json"), &trace)
			loss, norm := losses(t, out)
			for i := range loss {
				w := trace.Log[i]
				if w.Step != i+1 || math.Abs(loss[i]-w.Loss) > 1.1e-4*(1+1e-5*w.Loss) || math.Abs(norm[i]-w.Norm) > 2e-4*w.Norm {
					t.Errorf("step %d: loss %v norm %v, recorded %v and %v", i+1, loss[i], norm[i], w.Loss, w.Norm)
				}
			}
			if len(loss) < 12 {
				t.Errorf("%d steps", len(loss))
			}
		})
	}
}
