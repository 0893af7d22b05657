package train_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	_ "dataflex.dev/dataflex/algo/selector"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/storage"
)

// model is the demo's tiny llama, trained by this project.
const model = "../../tools/dataflex-demo/model"

// fixture is a folder with a small data set and a configuration for the demo's model; tests
// override its keys.
type fixture struct {
	t   *testing.T
	dir string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir()}
	var pool, eval []map[string]string
	for i := range 48 {
		row := map[string]string{"instruction": fmt.Sprintf("Add %d and %d", i, (7*i)%13), "input": "", "output": fmt.Sprint(i + (7*i)%13)}
		if i%3 == 1 {
			row = map[string]string{"input": "", "instruction": "Write in capitals: mo" + strings.Repeat("la", 1+i%3), "output": "MO" + strings.Repeat("LA", 1+i%3)}
		}
		if i%12 == 0 {
			eval = append(eval, row)
		}
		pool = append(pool, row)
	}
	f.json("pool.json", pool)
	f.json("eval.json", eval)
	f.json("dataset_info.json", map[string]any{"pool": map[string]string{"file_name": "pool.json"}, "eval": map[string]string{"file_name": "eval.json"}})
	f.write("components.yaml", fmt.Sprintf(`selectors:
  less:
    name: less
    params: {cache_dir: %[1]s/cache/less, projection: sjlt, proj_dim: 256}
  loss:
    name: loss
    params: {cache_dir: %[1]s/cache/loss}
  random:
    name: random
    params: {cache_dir: %[1]s/cache/random}
  custom:
    name: custom
    params: {cache_dir: %[1]s/cache/custom}
`, f.dir))
	f.write("run.yaml", fmt.Sprintf(`model_name_or_path: %[2]s
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
lora_rank: 4
dataset_dir: %[1]s
dataset: pool
eval_dataset: eval
template: chatml
cutoff_len: 64
output_dir: %[1]s/out
per_device_train_batch_size: 2
gradient_accumulation_steps: 2
learning_rate: 2.0e-3
lr_scheduler_type: cosine
warmup_ratio: 0.1
logging_steps: 1
max_steps: 6
save_steps: 1000
components_cfg_file: %[1]s/components.yaml
warmup_step: 2
update_step: 2
update_times: 2
`, f.dir, model))
	return f
}

func (f *fixture) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) json(name string, v any) {
	f.t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(name, string(raw))
}

// run trains with overrides of the fixture's configuration.
func (f *fixture) run(overrides ...string) error { return f.runOn("", overrides...) }

// runOn is run with --device.
func (f *fixture) runOn(device string, overrides ...string) error {
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), overrides)
	if err != nil {
		return err
	}
	return train.Run(context.Background(), c, train.Options{Device: device, Out: os.Stderr, Log: slog.New(slog.DiscardHandler)})
}

func (f *fixture) must(overrides ...string) {
	f.t.Helper()
	if err := f.run(overrides...); err != nil {
		f.t.Fatal(err)
	}
}

// losses returns the logged losses and norms of a run, with four decimals.
func losses(t testing.TB, dir string) (loss, norm []float64) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "trainer_state.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		History []struct {
			Loss     *float64 `json:"loss"`
			GradNorm float64  `json:"grad_norm"`
		} `json:"log_history"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	for _, h := range s.History {
		if h.Loss != nil {
			loss, norm = append(loss, *h.Loss), append(norm, h.GradNorm)
		}
	}
	return loss, norm
}

func adapter(t testing.TB, dir string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, storage.AdapterFile))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestAccumulation: the loss is the mean over the tokens of the whole accumulation group,
// however the group is divided.
func TestAccumulation(t *testing.T) {
	t.Parallel()
	var first, firstNorm []float64
	for _, cut := range [][2]int{{4, 1}, {2, 2}, {1, 4}} {
		f := newFixture(t)
		f.must(fmt.Sprintf("per_device_train_batch_size=%d", cut[0]), fmt.Sprintf("gradient_accumulation_steps=%d", cut[1]), "weight_decay=0.01")
		loss, norm := losses(t, filepath.Join(f.dir, "out"))
		if first == nil {
			first, firstNorm = loss, norm
			continue
		}
		for i := range loss {
			if math.Abs(loss[i]-first[i]) > 1e-4 || math.Abs(norm[i]-firstNorm[i]) > 1e-4*firstNorm[i] {
				t.Errorf("batch %v step %d: loss %v norm %v, with (4,1) %v %v", cut, i+1, loss[i], norm[i], first[i], firstNorm[i])
			}
		}
	}
}

// TestSameSeedSameBytes trains twice, with one thread and with three.
func TestSameSeedSameBytes(t *testing.T) {
	var first []byte
	for _, threads := range []string{"1", "3"} {
		t.Setenv("OMP_NUM_THREADS", threads)
		f := newFixture(t)
		f.must("train_type=dynamic_select", "component_name=less", "lora_dropout=0.1")
		got := adapter(t, filepath.Join(f.dir, "out"))
		if first == nil {
			first = got
		} else if string(got) != string(first) {
			t.Errorf("%s threads give another adapter than 1", threads)
		}
	}
}

// TestSelectionIsReusedOnlyByItself: the same run reads its selections from disk; one with
// another seed, model parameter or data set does not.
func TestSelectionIsReusedOnlyByItself(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	args := []string{"train_type=dynamic_select", "component_name=loss", "overwrite_output_dir=true"}
	f.must(args...)
	step := filepath.Join(f.dir, "cache/loss/step_2.json")
	before, err := os.Stat(step)
	if err != nil {
		t.Fatal(err)
	}
	f.must(args...)
	if after, err := os.Stat(step); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same run wrote its selection again (%v)", err)
	}
	f.must(append(args, "learning_rate=1e-3")...)
	if after, err := os.Stat(step); err != nil || os.SameFile(before, after) {
		t.Errorf("a run with another learning rate took the selection of the first (%v)", err)
	}
}

// TestArtefacts checks the files of a finished run and the fields that scripts read.
func TestArtefacts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.must("train_type=dynamic_select", "component_name=random", "plot_loss=true", "do_eval=true", "eval_strategy=steps", "eval_steps=3", "save_steps=4", "report_to=tensorboard")
	out := filepath.Join(f.dir, "out")
	for _, name := range []string{
		"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "trainer_log.jsonl",
		"trainer_state.json", "train_results.json", "eval_results.json", "all_results.json", "training_loss.png", "training_eval_loss.png",
		"selected_rows.jsonl", "selection_report.md", "README.md", "runs", "checkpoint-4/optimizer.safetensors", "checkpoint-6/trainer_state.json",
	} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	fields := map[string][]string{
		"train_results.json": {"epoch", "total_flos", "train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second", "train_tokens_per_second"},
		"eval_results.json":  {"epoch", "eval_loss", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second"},
	}
	for name, want := range fields {
		raw, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]float64
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		for _, k := range want {
			if _, ok := got[k]; !ok {
				t.Errorf("%s has no %s", name, k)
			}
		}
	}
	raw, err := os.ReadFile(filepath.Join(out, "trainer_log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"selection_runtime"`, `"selection_samples_per_second"`, `"eval_loss"`, `"current_steps": 6, "total_steps": 6, "epoch"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("trainer_log.jsonl has no %s:\n%s", want, raw)
		}
	}
}
