package train_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
)

// The regression tests at the end of spec/dataflex-upstream.md and in section 6 of
// spec/dataflex-1.1.md that concern whole runs, by their numbers there: each fails in
// upstream. Those for a single method are in the method's package.

// weighing lists the methods that weight the loss.
func weighing(t *testing.T) (out []method) {
	t.Helper()
	for _, m := range methods(t) {
		if m.mode == "faithful" && (m.kind == "weighter" || m.name == "doremi") {
			out = append(out, m)
		}
	}
	return out
}

// TestRegression04AccumulationDoesNotMatter: the 8 rows of a step weigh the same however
// they are divided into micro-batches, under every method that weights the loss. (Also 18 of
// the second list.)
func TestRegression04AccumulationDoesNotMatter(t *testing.T) {
	t.Parallel()
	f := small(t)
	for _, m := range weighing(t) {
		t.Run(m.name, func(t *testing.T) {
			f.t = t
			var wantLoss, wantNorm []float64
			for _, cut := range [][2]int{{8, 1}, {4, 2}, {1, 8}} {
				f.must(append(m.arguments(f), "max_steps=3", "lr_scheduler_type=constant", "overwrite_output_dir=true",
					fmt.Sprintf("per_device_train_batch_size=%d", cut[0]), fmt.Sprintf("gradient_accumulation_steps=%d", cut[1]))...)
				loss, norm := losses(t, filepath.Join(f.dir, "out"))
				if wantLoss == nil {
					wantLoss, wantNorm = loss, norm
				}
				for i := range wantLoss { // losses are logged to four decimals
					if math.Abs(loss[i]-wantLoss[i]) > 1.01e-4 || math.Abs(norm[i]-wantNorm[i]) > 2e-6*wantNorm[i] {
						t.Errorf("cut %v, step %d: loss %v norm %v, uncut %v %v", cut, i+1, loss[i], norm[i], wantLoss[i], wantNorm[i])
					}
				}
			}
		})
	}
}

// TestRegression05UniformIsUnweighted: strategy uniform trains the same weights as static
// training, byte for byte.
func TestRegression05UniformIsUnweighted(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "weighters:\n  it: {name: loss, params: {strategy: uniform}}\n")
	f.same("an unweighted run",
		[]string{"max_steps=4"},
		[]string{"max_steps=4", "train_type=dynamic_weight", "component_name=it", "warmup_step=0"})
}

// same checks that the adapters of two runs are equal.
func (f *fixture) same(what string, a, b []string) {
	f.t.Helper()
	if !f.alike(a, b) {
		f.t.Errorf("the weights are not those of %s", what)
	}
}

// alike trains twice and compares the adapters.
func (f *fixture) alike(a, b []string) bool {
	f.t.Helper()
	var out [2]string
	for i, args := range [][]string{a, b} {
		out[i] = filepath.Join(f.dir, fmt.Sprint("out", i))
		f.must(append(slices.Clip(args), "output_dir="+out[i], "overwrite_output_dir=true")...)
	}
	return sameFile(f.t, filepath.Join(out[0], "adapter_model.safetensors"), filepath.Join(out[1], "adapter_model.safetensors"))
}

func init() {
	algo.RegisterMixer("test_first", func(_ *algo.Run, domains []algo.Domain, _ algo.Mode, p *config.Params) (algo.Mixer, error) {
		return firstDomain{len(domains), p.Bool("weigh", true)}, p.Err()
	})
}

// firstDomain draws equally from all domains and gives the whole loss to the first.
type firstDomain struct {
	domains int
	weigh   bool
}

func (m firstDomain) Mix(context.Context, algo.MixRequest) (algo.Mixture, error) {
	a := algo.Mixture{Proportions: make([]float64, m.domains)}
	for i := range a.Proportions {
		a.Proportions[i] = 1 / float64(m.domains)
	}
	if m.weigh {
		a.LossWeights = make([]float64, m.domains)
		a.LossWeights[0] = 1
	}
	return a, nil
}

// TestRegression03LossWeightsReachTheModel: a mixer's loss weights (1, 0) for the domains
// change the trained weights; the rest is tested by TestRegression03DoReMiReweighs of
// algo/mixer.
func TestRegression03LossWeightsReachTheModel(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "mixers:\n  on: {name: test_first}\n  off: {name: test_first, params: {weigh: false}}\n")
	args := []string{"train_type=dynamic_mix", "dataset=pool,other", "max_steps=3", "warmup_step=1", "update_step=2"}
	if f.alike(append(slices.Clip(args), "component_name=on"), append(slices.Clip(args), "component_name=off")) {
		t.Error("the weights of the domains change nothing")
	}
}

// TestRegression08AnotherModelAnotherSelection: a selection made with another model is not
// reused.
func TestRegression08AnotherModelAnotherSelection(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "selectors:\n  it: {name: loss, params: {cache_dir: "+f.dir+"/cache/it}}\n")
	step := filepath.Join(f.dir, "cache/it/step_2.json")
	train := func(model string) os.FileInfo {
		f.must("train_type=dynamic_select", "component_name=it", "max_steps=3", "overwrite_output_dir=true", "model_name_or_path="+filepath.Join(f.dir, model))
		info, err := os.Stat(step)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := train("tiny")
	if !os.SameFile(first, train("tiny")) {
		t.Error("the same run made its selection again")
	}
	if os.SameFile(first, train("experts")) {
		t.Error("another model's run took the selection")
	}
}

// TestRegression13And14: without a train_type training is static; and the number of workers
// of Python's loader has no effect.
func TestRegression13And14(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.same("train_type: static", []string{"max_steps=2", "train_type=static"}, []string{"max_steps=2"})
	f.write("components.yaml", "selectors:\n  it: {name: random}\n")
	args := []string{"train_type=dynamic_select", "component_name=it", "max_steps=4"}
	f.same("dataloader_num_workers: 2", append(slices.Clip(args), "dataloader_num_workers=2"), args)
}

// TestRegression19EvaluationIsUnweighted: with any method that weights the training loss,
// the evaluation of the same weights equals that of static training.
func TestRegression19EvaluationIsUnweighted(t *testing.T) {
	t.Parallel()
	f := small(t)
	eval := func(args ...string) (loss float64) {
		f.must(append(slices.Clip(args), "max_steps=3", "learning_rate=0", "eval_strategy=steps", "eval_steps=3", "do_eval=true", "overwrite_output_dir=true")...)
		var results struct {
			Loss float64 `json:"eval_loss"`
		}
		readJSON(t, filepath.Join(f.dir, "out/eval_results.json"), &results)
		return results.Loss
	}
	want := eval()
	for _, m := range weighing(t) {
		if got := eval(m.arguments(f)...); got != want || want == 0 {
			t.Errorf("%s: eval_loss %v, static %v", m.name, got, want)
		}
	}
}

// TestRegression28StepsAreKept: every train type respects train_step and max_steps.
func TestRegression28StepsAreKept(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "selectors: {it: {name: random}}\nmixers: {it: {name: static}}\nweighters: {it: {name: loss}}\n")
	for _, kind := range []string{"static", "dynamic_select", "dynamic_mix", "dynamic_weight"} {
		for _, key := range []string{"max_steps", "train_step"} {
			if kind == "static" && key == "train_step" {
				continue // a key for dynamic training
			}
			f.must("train_type="+kind, "component_name=it", "max_steps=-1", "overwrite_output_dir=true", key+"=3")
			if loss, _ := losses(t, filepath.Join(f.dir, "out")); len(loss) != 3 {
				t.Errorf("%s, %s=3: %d steps", kind, key, len(loss))
			}
		}
	}
}

// TestRegression32WarmupIsStatic: until warmup_step, dynamic_weight trains as static
// training does, accumulation included.
func TestRegression32WarmupIsStatic(t *testing.T) {
	t.Parallel()
	f := small(t)
	for _, mode := range []string{"faithful", "upstream"} {
		f.write("components.yaml", "weighters:\n  it: {name: loss, params: {mode: "+mode+"}}\n")
		f.same("static training", []string{"max_steps=3"}, []string{"max_steps=3", "train_type=dynamic_weight", "component_name=it", "warmup_step=3"})
	}
}

// taken lists the rows of the steps of the last run with test_counts.
var taken [][]int

func init() {
	algo.RegisterSelector("test_counts", func(run *algo.Run, _ algo.Mode, _ *config.Params) (algo.Selector, error) {
		taken = nil
		return counter{lender{run, false}}, nil
	})
}

type counter struct{ lender }

func (counter) Observe(_ context.Context, _ int, micros []algo.MicroReport) error {
	var rows []int
	for _, m := range micros {
		rows = append(rows, m.Rows...)
	}
	taken = append(taken, rows)
	return nil
}

// TestRegression33WholeWindows: 60 rows of one micro-batch each and windows of 7
// micro-batches per step: no step is cut short where a pass over the 60 ends, and every row
// of a window is trained on.
func TestRegression33WholeWindows(t *testing.T) {
	f := small(t)
	f.write("components.yaml", "selectors:\n  it: {name: test_counts}\n")
	var pool []map[string]string
	for i := range 60 {
		pool = append(pool, question(fmt.Sprint("Say ", i), "yes"))
	}
	f.json("pool.json", pool)
	f.must("train_type=dynamic_select", "component_name=it", "per_device_train_batch_size=1", "gradient_accumulation_steps=7",
		"warmup_step=2", "update_step=5", "update_times=2", "max_steps=-1", "num_train_epochs=1")
	if len(taken) != 12 {
		t.Fatalf("%d steps", len(taken))
	}
	for s, rows := range taken {
		if len(rows) != 7 {
			t.Errorf("step %d holds %d rows", s+1, len(rows))
		}
	}
	for _, first := range []int{2, 7} {
		window := slices.Concat(taken[first : first+5]...)
		slices.Sort(window)
		for i, row := range window {
			if row != i {
				t.Fatalf("the window of step %d is %v", first+1, window)
			}
		}
	}
}
