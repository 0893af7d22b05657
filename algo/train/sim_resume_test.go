package train_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// TestResumesOnTheInterpreter: runs in bf16 that are interrupted and resumed end with the
// bytes of uninterrupted ones, and with about the host's losses, accuracy and evaluation,
// for full training, some layers, or an adapter with dropout.
func TestResumesOnTheInterpreter(t *testing.T) {
	common := []string{
		"cutoff_len=24", "max_samples=3", "per_device_train_batch_size=1", "gradient_accumulation_steps=1", "max_steps=2", "warmup_ratio=0",
		"bf16=true", "learning_rate=1e-3", "save_steps=1",
	}
	for name, c := range map[string]struct {
		args []string
		file string
	}{
		"full":    {[]string{"finetuning_type=full", "do_eval=true", "compute_accuracy=true"}, "model.safetensors"},
		"freeze":  {[]string{"finetuning_type=freeze", "freeze_trainable_layers=1"}, "model.safetensors"},
		"dropout": {[]string{"lora_dropout=0.1", "lora_target=q_proj", "neftune_noise_alpha=5"}, "adapter_model.safetensors"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			args := append(c.args, common...)
			out := func(name string) string { return filepath.Join(f.dir, name) }
			run := func(device, name string) {
				t.Helper()
				if err := f.runOn(device, append(args, "output_dir="+out(name))...); err != nil {
					t.Fatal(err)
				}
			}
			run("cpu", "host")
			run("sim", "whole")
			f.interrupt("sim", 1, append(args, "output_dir="+out("broken"))...)
			run("sim", "broken")
			if !sameFile(t, filepath.Join(out("whole"), c.file), filepath.Join(out("broken"), c.file)) {
				t.Error("the weights differ from those of an uninterrupted run")
			}
			want, got := measured(t, out("host")), measured(t, out("broken"))
			for key, w := range want {
				if g := got[key]; !(math.Abs(g-w) <= 4e-2) {
					t.Errorf("%s is %v, on the host %v", key, g, w)
				}
			}
		})
	}
}

// interrupt runs until that many steps are done.
func (f *fixture) interrupt(device string, steps int, overrides ...string) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), overrides)
	if err != nil {
		f.t.Fatal(err)
	}
	err = train.Run(ctx, c, train.Options{Device: device, Out: os.Stderr, Log: slog.New(slog.DiscardHandler), Progress: cancelAt{steps, cancel}})
	if !errors.Is(err, train.ErrInterrupted) {
		f.t.Fatalf("interrupted run: %v", err)
	}
}

// measured is a run's last loss, and the evaluation's if there is one.
func measured(t *testing.T, dir string) map[string]float64 {
	t.Helper()
	var results struct {
		Loss     float64 `json:"eval_loss"`
		Accuracy float64 `json:"eval_accuracy"`
	}
	readJSON(t, filepath.Join(dir, "all_results.json"), &results)
	loss, _ := losses(t, dir)
	return map[string]float64{"loss": loss[len(loss)-1], "eval_loss": results.Loss, "eval_accuracy": results.Accuracy}
}
