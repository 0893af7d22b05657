package train_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// cutContext ends when its state has been read n times: a signal at each of the places that
// check for one, in turn.
type cutContext struct {
	context.Context
	left atomic.Int64
	once sync.Once
	done chan struct{}
}

func cutAfter(n int) *cutContext {
	c := &cutContext{Context: context.Background(), done: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *cutContext) Done() <-chan struct{} { return c.done }

func (c *cutContext) Err() error {
	if c.left.Add(-1) >= 0 {
		return nil
	}
	c.once.Do(func() { close(c.done) })
	return context.Canceled
}

// cut runs until the context has been checked n times, and reports whether the run ended
// first.
func (f *fixture) cut(n int, args ...string) (over bool) {
	f.t.Helper()
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), args)
	if err != nil {
		f.t.Fatal(err)
	}
	err = train.Run(cutAfter(n), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler)})
	if err != nil && !errors.Is(err, train.ErrInterrupted) && !errors.Is(err, context.Canceled) {
		f.t.Fatalf("cut at look %d: %v", n, err)
	}
	return err == nil
}

// TestCutShortAnywhere interrupts runs at every place that checks for a signal, inside
// steps, selections and evaluations. Each is resumed by the same command and leaves the
// weights, the log, the selected rows, the domains' weights and the history of a run without
// interruptions: unfinished work leaves no trace, and is made up for.
func TestCutShortAnywhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stride     int
		components string
		args       []string
	}{
		"doremi": {1, "mixers: {it: {name: doremi, params: {reference_model_path: %[1]s/tiny}}}", []string{"train_type=dynamic_mix", "dataset=pool,other", "gradient_accumulation_steps=3"}},
		"odm":    {2, "mixers: {it: {name: odm, params: {warmup_steps: 1}}}", []string{"train_type=dynamic_mix", "dataset=pool,other"}},
		"loss, evaluated": {5, "selectors: {it: {name: loss}}", []string{
			"train_type=dynamic_select", "eval_strategy=steps", "eval_steps=1", "do_eval=true", "lr_scheduler_type=reduce_lr_on_plateau", "save_only_model=true",
			"metric_for_best_model=eval_loss", "early_stopping_steps=2", "per_device_eval_batch_size=1",
		}},
		"near": {2, "selectors: {it: {name: near, params: {indices_path: %[1]s/near.npy}}}", []string{"train_type=dynamic_select"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := small(t)
			f.offline(48)
			f.write("components.yaml", fmt.Sprintf(c.components+"\n# %[1]s", f.dir))
			args := append(c.args, "component_name=it", "max_steps=4", "warmup_step=1", "update_step=2", "save_steps=3", "lora_dropout=0.1")
			whole := filepath.Join(f.dir, "whole")
			f.must(append(args, "output_dir="+whole)...)
			want := traces(t, whole)
			for n := 0; ; n += c.stride {
				out := filepath.Join(f.dir, fmt.Sprint("out", n))
				over := f.cut(n, append(args, "output_dir="+out)...)
				if over {
					if n < 10 {
						t.Errorf("the run looked for a signal only %d times", n)
					}
					return
				}
				f.must(append(args, "output_dir="+out)...)
				if !sameFile(t, filepath.Join(whole, "adapter_model.safetensors"), filepath.Join(out, "adapter_model.safetensors")) {
					t.Errorf("cut at look %d: the weights differ", n)
				}
				if got := traces(t, out); got != want {
					t.Fatalf("cut at look %d: %s", n, firstDifference(got, want))
				}
				if err := os.RemoveAll(out); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// firstDifference shows where two texts begin to differ, by lines.
func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is\n%s\nundisturbed\n%s", i+1, strings.Join(a[max(0, i-2):i+1], "\n"), strings.Join(b[max(0, i-2):i+1], "\n"))
		}
	}
	return fmt.Sprintf("%d lines, undisturbed %d", len(a), len(b))
}

var timings = regexp.MustCompile(`"(\w*runtime|\w*per_second|elapsed_time|remaining_time)": ("[^"]*"|[-0-9.e+]+)`)

// traces are a run's records without times.
func traces(t *testing.T, dir string) string {
	t.Helper()
	out := records(t, dir)
	for _, name := range []string{"trainer_log.jsonl", "trainer_state.json"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out += name + "\n" + regexp.MustCompile(regexp.QuoteMeta(dir)).ReplaceAllString(timings.ReplaceAllString(string(raw), `"$1": T`), "OUT")
	}
	return out
}
