package train_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/model/checkpoint"
)

// poisoned gives the fixture a model that computes NaN where a row says Z, and nowhere else:
// its head is not tied, so that other rows' losses are not affected.
func poisoned(t *testing.T) (f *fixture, override string) {
	f = newFixture(t)
	dir := f.copyModel()
	raw, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("model/config.json", strings.Replace(string(raw), `"tie_word_embeddings": true`, `"tie_word_embeddings": false`, 1))
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	z, ok := tok.ID("Z")
	if !ok {
		t.Fatal("the tokenizer has no Z")
	}
	f.tensors(func(all []checkpoint.Tensor) []checkpoint.Tensor {
		i := slices.IndexFunc(all, func(t checkpoint.Tensor) bool { return t.Name == "model.embed_tokens.weight" })
		head := checkpoint.Tensor{Name: "lm_head.weight", Shape: all[i].Shape, F32: slices.Clone(all[i].F32)}
		d := all[i].Shape[1]
		all[i].F32[int(z)*d] = float32(math.NaN())
		return append(all, head)
	})
	return f, "model_name_or_path=" + dir
}

// question is a row of data.
func question(instruction, output string) map[string]string {
	return map[string]string{"instruction": instruction, "input": "", "output": output}
}

// TestNaNRowIsLeftOut: a step that contains a row with a loss or gradient of NaN or Inf
// equals, byte for byte, the step without the row; the row is reported and counted.
func TestNaNRowIsLeftOut(t *testing.T) {
	t.Parallel()
	good := []map[string]string{question("Add 1 and 2", "3"), question("Write in capitals: mo", "MO"), question("Add 4 and 5", "9")}
	// Truncated to cutoff_len, this row ends in a Z that predicts nothing: only backward
	// computes NaN.
	silent := question("Add 1 and 1", "2 "+strings.Repeat("Z", 60))
	for _, c := range []struct {
		name string
		bad  map[string]string
		args []string
	}{
		{"loss", question("Z", "no"), nil},
		{"gradient", silent, []string{"cutoff_len=31"}},
		{"full", question("Z", "no"), []string{"finetuning_type=full", "learning_rate=1e-4"}},
		{"weights", question("Z", "no"), []string{"train_type=dynamic_weight", "component_name=loss", "warmup_step=0"}},
		{"weights, upstream", question("Z", "no"), []string{"train_type=dynamic_weight", "component_name=upstream", "warmup_step=0"}},
		{"weights, gradient", silent, []string{"train_type=dynamic_weight", "component_name=loss", "warmup_step=0", "cutoff_len=31"}},
		{"smoothing", question("Z", "no"), []string{"label_smoothing_factor=0.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, with := poisoned(t)
			f.write("components.yaml", "weighters:\n  loss: {name: loss}\n  upstream:\n    name: loss\n    mode: upstream\n")
			args := append([]string{with, "disable_shuffling=true", "max_steps=1", "warmup_ratio=0"}, c.args...)
			train := func(out string, rows ...map[string]string) string {
				f.json("pool.json", rows)
				out = filepath.Join(f.dir, out)
				f.must(append(args, "output_dir="+out)...)
				return out
			}
			clean := train("clean", good...)
			dirty := train("dirty", good[0], good[1], c.bad, good[2])
			file := "adapter_model.safetensors"
			if c.name == "full" {
				file = "model.safetensors"
			}
			if !sameFile(t, filepath.Join(clean, file), filepath.Join(dirty, file)) {
				t.Error("the weights are not those of a step without the row")
			}
			a, an := losses(t, clean)
			b, bn := losses(t, dirty)
			if fmt.Sprint(a, an) != fmt.Sprint(b, bn) {
				t.Errorf("loss %v norm %v, without the row %v %v", b, bn, a, an)
			}
			var results struct {
				Skipped int `json:"skipped_samples"`
			}
			readJSON(t, filepath.Join(dirty, "train_results.json"), &results)
			if results.Skipped != 1 || named(t, dirty) != "pool 2" {
				t.Errorf("%d samples counted, named: %s", results.Skipped, named(t, dirty))
			}
		})
	}
}

// named lists the rows that a run's history reports as left out.
func named(t *testing.T, dir string) string {
	t.Helper()
	var s struct {
		History []struct {
			Dataset string `json:"skipped_dataset"`
			Row     int    `json:"skipped_row"`
		} `json:"log_history"`
	}
	readJSON(t, filepath.Join(dir, "trainer_state.json"), &s)
	var out []string
	for _, h := range s.History {
		if h.Dataset != "" {
			out = append(out, fmt.Sprint(h.Dataset, " ", h.Row))
		}
	}
	return strings.Join(out, ", ")
}

// TestNaNRowIsNamedOnce: over several passes and a resumed run, a row is counted as often as
// it was left out and reported once.
func TestNaNRowIsNamedOnce(t *testing.T) {
	t.Parallel()
	f, with := poisoned(t)
	f.json("pool.json", []map[string]string{question("Add 1 and 2", "3"), question("Z", "no"), question("Add 4 and 5", "9"), question("Add 2 and 2", "4")})
	f.must(with, "max_steps=2", "save_steps=1")
	f.must(with, "max_steps=3", "save_steps=1")
	var results struct {
		Skipped int `json:"skipped_samples"`
	}
	out := filepath.Join(f.dir, "out")
	readJSON(t, filepath.Join(out, "train_results.json"), &results)
	if results.Skipped != 3 || named(t, out) != "pool 1" {
		t.Errorf("%d samples counted, named: %s", results.Skipped, named(t, out))
	}
}

// TestNaNRowInAMixture: a step that is repeated without a row updates DoReMi's weights once.
func TestNaNRowInAMixture(t *testing.T) {
	t.Parallel()
	f, with := poisoned(t)
	silent := question("Add 1 and 1", "2 "+strings.Repeat("Z", 60)) // only backward computes NaN
	f.json("pool.json", []map[string]string{silent, question("Add 1 and 2", "3")})
	f.write("components.yaml", "mixers:\n  it:\n    name: doremi\n    params: {reference_model_path: "+model+"}\n")
	f.must(with, "train_type=dynamic_mix", "component_name=it", "dataset=pool,eval", "init_mixture_proportions=[0.5,0.5]", "cutoff_len=31", "max_steps=4")
	out := filepath.Join(f.dir, "out")
	raw, err := os.ReadFile(filepath.Join(out, "doremi_weights.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, fmt.Sprintf(`{"step": %d,`, i)) || len(lines) != 4 || strings.Contains(line, "NaN") {
			t.Errorf("line %d of %d: %s", i, len(lines), line)
		}
	}
	if named(t, out) != "pool 0" {
		t.Errorf("named: %s", named(t, out))
	}
}

// TestNaNRowIsNotEvaluated: the loss of an evaluation is that of the other rows.
func TestNaNRowIsNotEvaluated(t *testing.T) {
	t.Parallel()
	f, with := poisoned(t)
	eval := func(rows ...map[string]string) float64 {
		f.json("eval.json", rows)
		f.must(with, "max_steps=1", "do_eval=true", "per_device_eval_batch_size=4", "overwrite_output_dir=true")
		var results struct {
			Loss float64 `json:"eval_loss"`
		}
		readJSON(t, filepath.Join(f.dir, "out/eval_results.json"), &results)
		return results.Loss
	}
	a, b := question("Add 1 and 2", "3"), question("Add 4 and 5", "9")
	if with, without := eval(a, question("Z", "no"), b), eval(a, b); with != without || without == 0 {
		t.Errorf("eval_loss %v, without the row %v", with, without)
	}
}

// TestNothingButNaN: if no row of a step is left, the weights are at fault.
func TestNothingButNaN(t *testing.T) {
	t.Parallel()
	f, with := poisoned(t)
	f.json("pool.json", []map[string]string{question("Z", "no"), question("Z and Z", "no")})
	for _, more := range [][]string{nil, {"train_type=dynamic_weight", "component_name=loss", "warmup_step=0"}} {
		f.write("components.yaml", "weighters:\n  loss: {name: loss}\n")
		err := f.run(append([]string{with}, more...)...)
		if err == nil || !strings.Contains(err.Error(), "every row of the step") || !strings.Contains(err.Error(), "row 0 of pool") {
			t.Errorf("%v: %v", more, err)
		}
	}
}

// TestNaNRowIsNotSelected: methods that score rows with the model never select one whose
// score is NaN or Inf, and are otherwise not affected.
func TestNaNRowIsNotSelected(t *testing.T) {
	t.Parallel()
	for name, params := range map[string]string{
		"less": "projection: sjlt, proj_dim: 64, ", "loss": "", "delta_loss": "", "zeroth": "", "cluster_less": "cluster_size: 8, projection: sjlt, proj_dim: 64, ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, with := poisoned(t)
			rows := []map[string]string{question("Z", "no")}
			for i := range 15 {
				rows = append(rows, question(fmt.Sprintf("Add %d and 2", i), fmt.Sprint(i+2)))
			}
			f.json("pool.json", rows)
			f.write("components.yaml", fmt.Sprintf("selectors:\n  it:\n    name: %s\n    params: {%scache_dir: %s/cache/it}\n", name, params, f.dir))
			f.must(with, "train_type=dynamic_select", "component_name=it", "update_step=3", "max_steps=8", "update_times=2", "warmup_step=2")
			for _, step := range []int{2, 5} {
				raw, err := os.ReadFile(filepath.Join(f.dir, fmt.Sprintf("cache/it/step_%d.json", step)))
				if err != nil {
					t.Fatal(err)
				}
				var got struct{ Indices []int }
				// Python's NaN, for the losses at delta_loss's first choice, is not valid
				// JSON.
				if err := json.Unmarshal([]byte(strings.ReplaceAll(string(raw), "NaN", "null")), &got); err != nil {
					t.Fatal(err)
				}
				if name == "delta_loss" && step == 2 {
					continue // it has no losses to compare yet: a random draw
				}
				if len(got.Indices) != 12 || slices.Contains(got.Indices, 0) {
					t.Errorf("step %d: %v", step, got.Indices)
				}
			}
		})
	}
}
