package train_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
)

// TestAdditionalTargetIsReadBack: parameters trained by additional_target are in checkpoints
// under PEFT's names. A run resumes from one to the same bytes, loads the best one at its
// end, and LESS scores with it.
func TestAdditionalTargetIsReadBack(t *testing.T) {
	t.Parallel()
	f := small(t)
	for _, target := range []string{"norm", "lm_head", "embed_tokens"} {
		args := []string{"additional_target=" + target, "save_steps=2", "lr_scheduler_type=constant", "max_steps=4"}
		whole, broken := filepath.Join(f.dir, target, "whole"), filepath.Join(f.dir, target, "broken")
		f.must(append(args, "output_dir="+whole)...)
		if f.killed(3, append(args, "output_dir="+broken)...) {
			t.Fatal("the run was over")
		}
		f.must(append(args, "output_dir="+broken)...)
		if !sameFile(t, filepath.Join(whole, "adapter_model.safetensors"), filepath.Join(broken, "adapter_model.safetensors")) {
			t.Errorf("%s: the weights differ from those of an uninterrupted run", target)
		}
	}
	best := filepath.Join(f.dir, "best")
	f.must("additional_target=norm", "output_dir="+best, "eval_strategy=steps", "eval_steps=1", "save_steps=1", "load_best_model_at_end=true", "learning_rate=0.5", "max_steps=3")
	var state struct {
		Best string `json:"best_model_checkpoint"`
	}
	readJSON(t, filepath.Join(best, "trainer_state.json"), &state)
	if !sameFile(t, filepath.Join(best, "adapter_model.safetensors"), filepath.Join(state.Best, "adapter_model.safetensors")) {
		t.Errorf("the weights are not those of %s", state.Best)
	}
	f.write("components.yaml", "selectors:\n  it: {name: less, params: {projection: sjlt, proj_dim: 32, cache_dir: "+f.dir+"/cache, checkpoints: ["+state.Best+"]}}\n")
	f.must("additional_target=norm", "output_dir="+f.dir+"/less", "train_type=dynamic_select", "component_name=it", "max_steps=3")
}

// TestEpochsOfDynamicRuns: actions per epoch happen where a pass over the 48 rows ends, at
// upstream's steps (48 rows in steps of 4 are 12), and after the last step.
func TestEpochsOfDynamicRuns(t *testing.T) {
	t.Parallel()
	f := small(t)
	for kind, bucket := range map[string]string{"dynamic_select": "selectors", "dynamic_mix": "mixers"} {
		f.write("components.yaml", bucket+":\n  it: {name: random}\n")
		out := filepath.Join(f.dir, kind)
		f.must("train_type="+kind, "component_name=it", "output_dir="+out, "max_steps=27", "update_times=-1", "save_strategy=epoch", "eval_strategy=epoch")
		var state struct {
			History []struct {
				Step int
				Loss *float64 `json:"eval_loss"`
			} `json:"log_history"`
		}
		readJSON(t, filepath.Join(out, "trainer_state.json"), &state)
		var evaluated []int
		for _, h := range state.History {
			if h.Loss != nil {
				evaluated = append(evaluated, h.Step)
			}
		}
		if want := []int{12, 24, 27}; !slices.Equal(evaluated, want) || !slices.Equal(checkpoints(t, out), want) {
			t.Errorf("%s: evaluated at %v, saved at %v, want both at %v", kind, evaluated, checkpoints(t, out), want)
		}
	}
}

// checkpoints lists the steps of a folder's checkpoints, in order.
func checkpoints(t *testing.T, dir string) (steps []int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if digits, ok := strings.CutPrefix(e.Name(), "checkpoint-"); ok {
			var step int
			if err := json.Unmarshal([]byte(digits), &step); err != nil {
				t.Fatal(err)
			}
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps
}

// TestSaveTotalLimitKeepsNewestAndBest: while a run trains, the newest checkpoint and the
// best one are kept, whatever the limit; at its end only the best one (transformers 4.57,
// Trainer._rotate_checkpoints). As the loss falls, greater_is_better makes the first one
// best.
func TestSaveTotalLimitKeepsNewestAndBest(t *testing.T) {
	t.Parallel()
	f := small(t)
	out := filepath.Join(f.dir, "out")
	args := []string{
		"max_steps=5", "greater_is_better=true", "eval_strategy=steps", "eval_steps=1", "save_steps=1",
		"metric_for_best_model=eval_loss", "load_best_model_at_end=true", "save_total_limit=1", "output_dir=" + out,
	}
	if f.killed(5, args...) {
		t.Fatal("the run was over")
	}
	var state struct {
		Best int `json:"best_global_step"`
	}
	readJSON(t, filepath.Join(out, "checkpoint-4", "trainer_state.json"), &state)
	if state.Best == 4 {
		t.Fatal("the newest is the best: the test shows nothing")
	}
	if got, want := checkpoints(t, out), []int{state.Best, 4}; !slices.Equal(got, want) {
		t.Errorf("checkpoints of steps %v, want %v", got, want)
	}
	f.must(args...)
	if got, want := checkpoints(t, out), []int{state.Best}; !slices.Equal(got, want) {
		t.Errorf("at the end: checkpoints of steps %v, want %v", got, want)
	}
}

// TestBestStepIsSaved: without a save strategy trainer_state.json has the best metric, and
// neither its step nor a checkpoint (LLaMA-Factory 0.9.4, transformers 4.52.4: recorded).
func TestBestStepIsSaved(t *testing.T) {
	t.Parallel()
	f := small(t)
	for strategy, saved := range map[string]bool{"no": false, "steps": true} {
		out := filepath.Join(f.dir, strategy)
		f.must("max_steps=1", "eval_strategy=steps", "eval_steps=1", "save_steps=1", "metric_for_best_model=eval_loss", "save_strategy="+strategy, "output_dir="+out)
		var state struct {
			Metric     *float64 `json:"best_metric"`
			Step       *int     `json:"best_global_step"`
			Checkpoint *string  `json:"best_model_checkpoint"`
		}
		readJSON(t, filepath.Join(out, "trainer_state.json"), &state)
		if state.Metric == nil || (state.Step != nil) != saved || (state.Checkpoint != nil) != saved {
			t.Errorf("save_strategy %s: best metric %v, step %v, checkpoint %v", strategy, state.Metric, state.Step, state.Checkpoint)
		}
	}
}

// TestStartIsNotTheBest: the evaluation of eval_on_start, though the lowest, is not the best
// model: the best has a checkpoint and is loaded (LLaMA-Factory 0.9.4, transformers 4.52.4,
// with a learning rate that ruins the model: the best is step 1).
func TestStartIsNotTheBest(t *testing.T) {
	t.Parallel()
	f := small(t)
	out := filepath.Join(f.dir, "out")
	f.must("output_dir="+out, "learning_rate=0.3", "lr_scheduler_type=constant", "warmup_ratio=0", "max_steps=1", "eval_on_start=true", "eval_strategy=steps", "eval_steps=1", "save_strategy=steps", "save_steps=1", "load_best_model_at_end=true")
	var state struct {
		Metric  float64 `json:"best_metric"`
		Step    int     `json:"best_global_step"`
		History []struct {
			Step int      `json:"step"`
			Loss *float64 `json:"eval_loss"`
		} `json:"log_history"`
	}
	readJSON(t, filepath.Join(out, "trainer_state.json"), &state)
	losses := map[int]float64{}
	for _, line := range state.History {
		if line.Loss != nil {
			losses[line.Step] = *line.Loss
		}
	}
	if len(losses) != 2 || losses[0] >= losses[1] {
		t.Fatalf("evaluations %v: the start must be the lower of two", losses)
	}
	if state.Step != 1 || state.Metric != losses[1] {
		t.Errorf("best step %d, metric %v, of the evaluations %v", state.Step, state.Metric, losses)
	}
}

// TestEvaluationOnly: do_train: false writes the evaluation of the untrained model, which
// equals an evaluation before the first step, and nothing else.
func TestEvaluationOnly(t *testing.T) {
	t.Parallel()
	f := small(t)
	trained, out := filepath.Join(f.dir, "trained"), filepath.Join(f.dir, "out")
	f.must("output_dir="+trained, "eval_strategy=steps", "eval_steps=5", "eval_on_start=true", "max_steps=1")
	var state struct {
		History []map[string]any `json:"log_history"`
	}
	readJSON(t, filepath.Join(trained, "trainer_state.json"), &state)
	f.must("output_dir="+out, "do_train=false", "do_eval=true")
	var got map[string]any
	readJSON(t, filepath.Join(out, "eval_results.json"), &got)
	if got["eval_loss"] == nil || got["eval_loss"] != state.History[0]["eval_loss"] {
		t.Errorf("eval_loss %v, before training %v", got["eval_loss"], state.History[0]["eval_loss"])
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if n := e.Name(); n != "eval_results.json" && n != "all_results.json" {
			t.Errorf("it leaves %s", n)
		}
	}
	f.must("output_dir="+out, "do_train=false", "do_eval=true", "dataset=null", "adapter_name_or_path="+trained)
	if err := f.run("do_train=false", "do_predict=true"); err == nil || !strings.Contains(err.Error(), "predict_with_generate: true") {
		t.Errorf("do_predict: %v", err)
	}
	if _, err := config.Load(filepath.Join(f.dir, "run.yaml"), []string{"do_train=false"}); err == nil {
		t.Error("a run that does nothing is accepted")
	}
}
