package weighter

import (
	"math"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/cache"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
)

type recording struct {
	Micro []struct {
		Step     int       `json:"step"`
		Rows     []int     `json:"rows"`
		Weighted bool      `json:"use_weighter"`
		In       []float64 `json:"losses_in"`
		Out      float64   `json:"weighted_out"`
		Returned float64   `json:"loss_returned"`
	} `json:"micro_batches"`
	Log []struct {
		Norm *float64 `json:"grad_norm"`
	} `json:"log_history"`
}

// TestReplay trains as in upstream's own runs, with the weighter's weights from step 3 on: the
// rows' losses, the result of the training step and the gradient's norm must agree.
func TestReplay(t *testing.T) {
	for run, component := range map[string][]string{
		"weight_joint_update_aware": {"joint_update_aware", "tau: 0.05", "target_update_step: 5", "target_batch_size: 2", "target_num_batches: 0"},
		"weight_adapt":              {"adapt", "tau: 1.0", "refresh_interval: 5", "anchor_batch_size: 8", "clip: null"},
		"weight_linupper":           {"loss", "strategy: linupper", "delta: 1.0"},
		"weight_uniform":            {"loss", "strategy: uniform", "delta: 1.0"},
		"weight_quadratic":          {"loss", "strategy: quadratic", "delta: 1.0"},
		"weight_extremes":           {"loss", "strategy: extremes", "delta: 1.0"},
	} {
		t.Run(run, func(t *testing.T) { replay(t, run, component[0], component[1:]) })
	}
}

func replay(t *testing.T, name, component string, params []string) {
	r := algotest.Trace[recording](t, name)
	run, o := recordedRun(t)
	schedule, err := optim.NewSchedule("cosine", nil, 2, 12, 1e-3)
	if err != nil {
		t.Fatal(err)
	}
	w := mustBuild(t, run, component, "upstream", params...)
	for step := 0; 2*step < len(r.Micro); step++ {
		group := r.Micro[2*step : 2*step+2]
		q := algo.WeightRequest{Step: step, Total: 12}
		labels := 0
		for _, m := range group {
			micro := batch.Pack(run.Train, m.Rows)
			tokens, err := run.Model.Losses(micro.Batch, 0)
			if err != nil {
				t.Fatal(err)
			}
			losses, _ := micro.RowMeans(tokens)
			q.Micros, q.Loss = append(q.Micros, micro), append(q.Loss, losses)
			labels += micro.Labels
		}
		var weights [][]float64
		if group[0].Weighted {
			weights, _ = weigh(t, w, q)
		}
		for _, p := range run.Model.Trainable() {
			clear(p.Grad.Host())
		}
		for i, m := range q.Micros {
			returned := backward(t, run.Model, m, func(row int) float64 {
				if weights == nil {
					return 1 / float64(labels)
				}
				return weights[i][row] / float64(m.Labelled[row])
			})
			if want := group[i].Returned; math.Abs(returned-want) > 1e-4*want {
				t.Errorf("step %d: loss %v, recorded %v", step, returned, want)
			}
			for j, want := range group[i].In {
				if math.Abs(q.Loss[i][j]-want) > 1e-4*want {
					t.Errorf("step %d: row losses %v, recorded %v", step, q.Loss[i], group[i].In)
					break
				}
			}
		}
		norm := optim.GradNorm(run.Device, run.Model.Trainable())
		if want := *r.Log[step].Norm; math.Abs(norm-want) > 2e-4*want {
			t.Errorf("step %d: gradient norm %v, recorded %v", step, norm, want)
		}
		o.Step(1e-3*schedule(step), optim.Clip(norm, 1))
	}
}

// backward adds the gradient of Σ weight(row)·nll and returns the sum.
func backward(t *testing.T, model *decoder.Model, m batch.Micro, weight func(row int) float64) (sum float64) {
	t.Helper()
	token := make([]float32, len(m.Tokens))
	for i := range m.Rows {
		for at := m.RowStart[i]; at < m.RowStart[i+1]; at++ {
			token[at] = float32(weight(i))
		}
	}
	losses, err := model.Backward(m.Batch, decoder.Objective{Weight: token, Train: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range losses {
		sum += float64(l) * float64(token[i])
	}
	return sum
}

// recordedRun is the model, data and optimiser of the weight_* runs.
func recordedRun(t *testing.T) (*algo.Run, optim.Optimizer) {
	t.Helper()
	tok, err := tokenizer.Load(filepath.Join(algotest.Golden, "models/tiny-llama"))
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := template.Get("qwen")
	if err != nil {
		t.Fatal(err)
	}
	tmpl.FixTokenizer(tok)
	examples := func(name string) []data.Example {
		return algotest.RecordedRows(t, cache.Options{
			Train: []string{name}, Tokenizer: tok, Template: tmpl, Process: processor.Options{CutoffLen: 256, Workers: 1},
		})
	}
	dev := cpu.New(2)
	model, err := decoder.Load(dev, filepath.Join(algotest.Golden, "models/tiny-llama"), decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := model.LoadAdapter(filepath.Join(algotest.Golden, "models/tiny-llama-lora")); err != nil {
		t.Fatal(err)
	}
	o, err := optim.NewAdamW(dev, optim.Groups(model.Trainable(), 0), 0.9, 0.999, 1e-8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close(); model.Close() })
	return &algo.Run{Device: dev, Model: model, Train: examples("pool120"), Eval: examples("eval_zh8"), Seed: 42, Log: algotest.Quiet}, o
}
