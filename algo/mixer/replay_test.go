package mixer

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
)

// TestReplay trains as in upstream's own runs and asks the mixer at the same steps: losses,
// proportions and the lines of the weights file must agree.
func TestReplay(t *testing.T) {
	for _, c := range []struct {
		run, file string
		params    []string
		labels    float64 // of a row: before the shift, or, with DoReMi, after it
		columns   []string
	}{
		{
			"mix_doremi", "doremi_weights.jsonl",
			[]string{"reference_model_path: " + filepath.Join(algotest.Golden, "models/tiny-llama"), "reweight_eta: 0.1", "reweight_eps: 0.01"},
			254,
			[]string{"domain_weights", "perdomain_scores"},
		},
		{
			"mix_odm", "odm_weights.jsonl",
			[]string{"alpha: 0.9", "warmup_steps: 3", "reward_scale: 15.0", "min_exploration_rate: 0.03", "initial_proportions: [0.5, 0.3, 0.2]"},
			255,
			[]string{"domain_weights"},
		},
	} {
		t.Run(c.run, func(t *testing.T) {
			r := algotest.Trace[recording](t, c.run)
			dir := t.TempDir()
			replay(t, r, strings.TrimPrefix(c.run, "mix_"), dir, c.params, c.labels)
			got, want := lines(t, filepath.Join(dir, c.file)), lines(t, filepath.Join(algotest.Golden, "runs", c.run, c.file))
			if len(got) != len(want) {
				t.Fatalf("%d lines, recorded %d", len(got), len(want))
			}
			for i := range got {
				if got[i]["step"].(float64) != want[i]["step"].(float64) {
					t.Errorf("line %d is of step %v, recorded %v", i, got[i]["step"], want[i]["step"])
				}
				for _, column := range c.columns {
					algotest.Near(t, column, floats(got[i][column]), floats(want[i][column]), 1e-6)
				}
			}
		})
	}
}

func replay(t *testing.T, r recording, name, dir string, params []string, labels float64) {
	const micro, seed, total = 4, 42, 12
	ctx := context.Background()
	train, domains := recordedDomains(t)
	dev := cpu.New(2)
	model, err := decoder.Load(dev, filepath.Join(algotest.Golden, "models/tiny-llama"), decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := model.LoadAdapter(filepath.Join(algotest.Golden, "models/tiny-llama-lora")); err != nil {
		t.Fatal(err)
	}
	trainable := model.Trainable()
	o, err := optim.NewAdamW(dev, optim.Groups(trainable, 0), 0.9, 0.999, 1e-8)
	if err != nil {
		t.Fatal(err)
	}
	schedule, err := optim.NewSchedule("cosine", nil, 2, total, 1e-3)
	if err != nil {
		t.Fatal(err)
	}
	run := &algo.Run{Device: dev, Model: model, Train: train, Seed: seed, Log: algotest.Quiet}
	m := mustBuild(t, run, domains, name, "upstream", params...)
	m.(algo.Writer).OutputDir(dir)
	manager, err := NewManager(domains, Mixture, []float64{0.5, 0.3, 0.2}, seed)
	if err != nil {
		t.Fatal(err)
	}
	var order []int
	for step := range total {
		if step%3 == 0 {
			var p []float64
			if step > 0 {
				got, err := m.Mix(ctx, algo.MixRequest{Step: step, Update: step / 3})
				if err != nil {
					t.Fatal(err)
				}
				algotest.Near(t, "proportions", got.Proportions, r.Selections[step/3-1].Proportions, 1e-6)
				p = got.Proportions
			}
			window := manager.Snapshot(p, 3*micro)
			order = rng.NewTorch(seed).Randperm(len(window))
			for i, j := range order {
				order[i] = window[j]
			}
		}
		b := batch.Pack(train, order[step%3*micro:step%3*micro+micro])
		report := algo.MicroReport{Micro: b}
		for _, row := range b.Rows {
			report.Domain = append(report.Domain, manager.DomainOf(row))
		}
		weight := make([]float32, len(b.Tokens))
		for i := range weight {
			weight[i] = float32(1 / (labels * micro))
		}
		for _, p := range trainable {
			clear(p.Grad.Host())
		}
		if report.TokenLoss, err = model.Backward(b.Batch, decoder.Objective{Weight: weight, Train: true}); err != nil {
			t.Fatal(err)
		}
		for _, l := range report.TokenLoss {
			report.Returned += float64(l) / (labels * micro)
		}
		if want := r.Micro[step].Returned; math.Abs(report.Returned-want) > 1e-5*want {
			t.Errorf("step %d: loss %v, recorded %v", step, report.Returned, want)
		}
		o.Step(1e-3*schedule(step), optim.Clip(optim.GradNorm(dev, trainable), 1))
		if err := m.(algo.Observer).Observe(ctx, step, []algo.MicroReport{report}); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.(algo.Finisher).Finish(); err != nil {
		t.Fatal(err)
	}
}

// lines reads a .jsonl.
func lines(t *testing.T, path string) []map[string]any {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for l := range strings.Lines(string(raw)) {
		var e map[string]any
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%s: %v in %q", path, err, l)
		}
		out = append(out, e)
	}
	return out
}

func floats(v any) []float64 {
	var out []float64
	for _, x := range v.([]any) {
		out = append(out, x.(float64))
	}
	return out
}
