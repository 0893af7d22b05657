package train_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/lanes"
	"dataflex.dev/dataflex/driver/launch"
)

// together trains on that many processes, each a goroutine with a device of its own, and
// returns what each ended with. change may give a rank another configuration, other options
// or another context.
func (f *fixture) together(processes int, change func(rank int, c *config.Config, o *train.Options) context.Context, overrides ...string) []error {
	f.t.Helper()
	dev := cpu.New(1) // the lanes' own copies
	defer dev.Close()
	connections := lanes.Job(processes, dev)
	errs := make([]error, processes)
	var all sync.WaitGroup
	for r := range processes {
		c, err := config.Load(filepath.Join(f.dir, "run.yaml"), overrides)
		if err != nil {
			f.t.Fatal(err)
		}
		o := train.Options{Device: "cpu", Out: os.Stderr, Log: slog.New(slog.DiscardHandler), Place: launch.Place{Rank: r, Size: processes, Local: r, LocalSize: processes}}
		if processes > 1 {
			o.Join = func(context.Context, driver.Device) (driver.Collective, error) { return connections[r], nil }
		}
		ctx := f.t.Context()
		if change != nil {
			if other := change(r, c, &o); other != nil {
				ctx = other
			}
		}
		all.Go(func() { errs[r] = train.Run(ctx, c, o) })
	}
	all.Wait()
	return errs
}

func (f *fixture) mustTogether(processes int, overrides ...string) {
	f.t.Helper()
	for rank, err := range f.together(processes, nil, overrides...) {
		if err != nil {
			f.t.Fatalf("rank %d of %d: %v", rank, processes, err)
		}
	}
}

// TestGoldenTogether: so many logical ranks leave the same files on any number of
// processes, byte for byte.
func TestGoldenTogether(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.offline(48)
	for _, m := range methods(t) {
		golden := map[string][][2]int{ // logical ranks, processes
			"selector less, faithful": {{2, 2}, {4, 2}, {4, 4}, {3, 3}}, "selector loss, faithful": {{2, 2}, {4, 2}, {4, 4}}, "mixer odm, faithful": {{2, 2}, {4, 2}, {4, 4}},
			"weighter loss, faithful": {{2, 2}, {4, 2}, {4, 4}}, "pipeline chain, faithful": {{2, 2}, {4, 2}, {4, 4}},
		}[m.String()]
		alone := m.mode == "upstream" && m.kind != "selector" && m.kind != "reorder" // refused: see checkRanks
		if golden == nil && !testing.Short() && !alone {
			golden = [][2]int{{2, 2}}
		}
		t.Run(m.String(), func(t *testing.T) {
			f.t = t
			f.everyProcesses(golden, m.arguments(f, "eval_strategy=steps", "eval_steps=2", "compute_accuracy=true", "lora_dropout=0.1", "neftune_noise_alpha=5")...)
		})
	}
	t.Run("static", func(t *testing.T) {
		f.t = t
		f.everyProcesses([][2]int{{2, 2}, {4, 2}, {4, 4}, {6, 3}}, "lora_dropout=0.1", "average_tokens_across_devices=true", "load_best_model_at_end=true", "eval_strategy=steps", "eval_steps=2", "save_steps=2")
	})
}

// everyProcesses trains with each pair of logical ranks and processes, and compares with
// one process.
func (f *fixture) everyProcesses(pairs [][2]int, overrides ...string) {
	f.t.Helper()
	single := map[int]string{}
	out := func(logical, processes int) string {
		dir := filepath.Join(f.t.TempDir(), fmt.Sprint(logical, "-on-", processes))
		f.clear()
		f.mustTogether(processes, append(slices.Clip(overrides), "output_dir="+dir, fmt.Sprint("ranks=", logical))...)
		return dir
	}
	for _, p := range pairs {
		logical, processes := p[0], p[1]
		if single[logical] == "" {
			single[logical] = out(logical, 1)
		}
		got := out(logical, processes)
		if string(adapter(f.t, got)) != string(adapter(f.t, single[logical])) {
			f.t.Errorf("%d logical ranks on %d processes train another adapter than on one", logical, processes)
		}
		if a, b := records(f.t, got), records(f.t, single[logical]); a != b {
			f.t.Errorf("%d logical ranks on %d processes: records\n%s\non one\n%s", logical, processes, a, b)
		}
		if a, b := evaluations(f.t, got), evaluations(f.t, single[logical]); a != b {
			f.t.Errorf("%d logical ranks on %d processes: evaluations\n%s\non one\n%s", logical, processes, a, b)
		}
	}
}

// clear removes what methods keep between runs.
func (f *fixture) clear() {
	f.t.Helper()
	if err := os.RemoveAll(filepath.Join(f.dir, "cache")); err != nil {
		f.t.Fatal(err)
	}
}

// evaluations are the lines of evaluations in a run's state, without what tells the time.
func evaluations(t *testing.T, dir string) (out string) {
	t.Helper()
	var s struct {
		History []map[string]any `json:"log_history"`
	}
	readJSON(t, filepath.Join(dir, "trainer_state.json"), &s)
	for _, h := range s.History {
		if h["eval_loss"] != nil {
			out += fmt.Sprintln(h["step"], h["eval_loss"], h["eval_accuracy"])
		}
	}
	return out
}

// TestTogetherResumes: a run that was stopped on so many processes goes on on any other
// number of them, and ends as one that nobody stopped.
func TestTogetherResumes(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.offline(48)
	args := []string{"train_type=dynamic_select", "component_name=loss", "max_steps=6", "save_steps=2"}
	out := func(name string, more ...string) []string {
		return append(append(slices.Clip(args), "output_dir="+filepath.Join(f.dir, name)), more...)
	}
	f.mustTogether(1, out("whole", "ranks=4")...)
	for step := 1; step < 6; step++ {
		f.clear()
		name := fmt.Sprint("stopped", step)
		for rank, err := range f.together(4, stopAt(step, step%4), out(name)...) {
			if !errors.Is(err, train.ErrInterrupted) {
				t.Fatalf("rank %d: %v", rank, err)
			}
		}
		f.mustTogether([]int{1, 2, 4}[step%3], out(name)...) // ranks is not given: those of the run that is there
		if string(adapter(t, filepath.Join(f.dir, name))) != string(adapter(t, filepath.Join(f.dir, "whole"))) {
			t.Errorf("stopped after step %d and gone on with elsewhere, the run trains another adapter", step)
		}
	}
	errs := f.together(3, nil, out("stopped1", "num_train_epochs=9")...)
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "4 logical ranks") || !strings.Contains(errs[0].Error(), "1, 2 or 4") {
		t.Errorf("4 logical ranks on 3 processes: %v", errs[0])
	}
}

// stopAt asks one rank to stop once that many steps are done; the others are not asked.
func stopAt(step, rank int) func(int, *config.Config, *train.Options) context.Context {
	return func(r int, _ *config.Config, o *train.Options) context.Context {
		if r != rank {
			return nil
		}
		ctx, cancel := context.WithCancel(context.Background())
		o.Progress = cancelAt{step, cancel}
		return ctx
	}
}

// fall panics on the rank that it is given to, once that many steps are done.
type fall int

func (n fall) Step(done, _ int, _ float64, _ int) {
	if done == int(n) {
		panic("a planted fault")
	}
}
func (fall) Close() {}

// TestTogetherFails: an error of one rank ends all of them at the same place; rank 0 names
// the rank, its machine and the step, and has saved what there is; the run goes on from
// there on another number of processes.
func TestTogetherFails(t *testing.T) {
	t.Parallel()
	f := small(t)
	out := func(name string) []string {
		return []string{"output_dir=" + filepath.Join(f.dir, name), "max_steps=6"}
	}
	f.mustTogether(1, append(out("whole"), "ranks=4")...)
	for failing := range 4 {
		name := fmt.Sprint("failed", failing)
		errs := f.together(4, func(r int, _ *config.Config, o *train.Options) context.Context {
			if r == failing {
				o.Progress = fall(3)
			}
			return nil
		}, out(name)...)
		for rank, err := range errs {
			if !ranks.Told(err) {
				t.Errorf("rank %d failed, rank %d ended with %v", failing, rank, err)
			}
		}
		says := []string{"a planted fault", "step 3 is saved in ", name + "/checkpoint-3"}
		if failing > 0 {
			says = append(says, fmt.Sprintf("rank %d on ", failing), "step 3")
		}
		for _, want := range says {
			if errs[0] == nil || !strings.Contains(errs[0].Error(), want) {
				t.Errorf("rank 0 does not say %q: %v", want, errs[0])
			}
		}
		f.mustTogether([]int{1, 2}[failing%2], out(name)...)
		if string(adapter(t, filepath.Join(f.dir, name))) != string(adapter(t, filepath.Join(f.dir, "whole"))) {
			t.Errorf("the run in which rank %d failed trains another adapter", failing)
		}
	}
}

// TestTogetherOneIsGone: where a rank's process ends, the others end with what they were
// doing, and rank 0 has saved the last step that it knows.
func TestTogetherOneIsGone(t *testing.T) {
	t.Parallel()
	f := small(t)
	out := []string{"output_dir=" + filepath.Join(f.dir, "out"), "max_steps=6"}
	errs := f.together(2, func(r int, _ *config.Config, o *train.Options) context.Context {
		if r == 1 {
			o.Progress = killAt(3)
		}
		return nil
	}, out...)
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "waited for the others, step 3") || !strings.Contains(errs[0].Error(), "step 3 is saved in ") {
		t.Errorf("%v", errs[0])
	}
	f.mustTogether(1, out...)
	f.mustTogether(1, "output_dir="+filepath.Join(f.dir, "whole"), "max_steps=6", "ranks=2")
	if string(adapter(t, filepath.Join(f.dir, "out"))) != string(adapter(t, filepath.Join(f.dir, "whole"))) {
		t.Error("gone on with on one process, the run trains another adapter")
	}
}

// TestTogetherDiffers: ranks of which one has another seed, other rows or another
// configuration are told so before the first step, and by name.
func TestTogetherDiffers(t *testing.T) {
	t.Parallel()
	f := small(t)
	for override, says := range map[string]string{
		"seed=7":             "seed is 42 on rank 0 and 7 on rank 1",
		"max_samples=20":     "dataset is another content",
		"learning_rate=0.1":  "learning_rate is 0.002 on rank 0 and 0.1 on rank 1",
		"lora_rank=2":        "lora_rank is 4 on rank 0 and 2 on rank 1",
		"eval_dataset=other": "eval_dataset is [eval] on rank 0 and [other] on rank 1",
	} {
		out := filepath.Join(f.dir, "out", override)
		errs := f.together(2, func(r int, c *config.Config, _ *train.Options) context.Context {
			if r == 1 {
				other, err := config.Load(filepath.Join(f.dir, "run.yaml"), []string{"output_dir=" + out, override})
				if err != nil {
					t.Fatal(err)
				}
				*c = *other
			}
			return nil
		}, "output_dir="+out)
		for rank, err := range errs {
			if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "rank 1 on ") {
				t.Errorf("%s, rank %d: %v", override, rank, err)
			}
		}
		if left, _ := filepath.Glob(out + "/*"); len(left) > 0 {
			t.Errorf("%s: the folder holds %v", override, left)
		}
	}
}

// TestTogetherNaN: a row that spoils its loss or its gradient is left out by all ranks, as
// one process leaves it out.
func TestTogetherNaN(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]map[string]string{"loss": question("Z", "no"), "gradient": question("Add 1 and 1", "2 "+strings.Repeat("Z", 60))} {
		f, with := poisoned(t)
		rows := []map[string]string{question("Add 1 and 2", "3"), question("Write in capitals: mo", "MO"), row, question("Add 4 and 5", "9")}
		f.json("pool.json", rows)
		args := func(out string) []string {
			return []string{with, "cutoff_len=31", "max_steps=4", "per_device_train_batch_size=1", "ranks=2", "output_dir=" + filepath.Join(f.dir, out)}
		}
		f.mustTogether(1, args("one")...)
		f.mustTogether(2, args("two")...)
		one, two := filepath.Join(f.dir, "one"), filepath.Join(f.dir, "two")
		if string(adapter(t, one)) != string(adapter(t, two)) || records(t, one) != records(t, two) {
			t.Errorf("%s: two processes train another adapter than one", name)
		}
		var results [2]map[string]any
		readJSON(t, filepath.Join(one, "train_results.json"), &results[0])
		readJSON(t, filepath.Join(two, "train_results.json"), &results[1])
		if n := results[0]["skipped_samples"]; n == nil || n != results[1]["skipped_samples"] {
			t.Errorf("%s: %v samples skipped on one process, %v on two", name, n, results[1]["skipped_samples"])
		}
	}
}

// TestTogetherSaves: a checkpoint that one rank is asked for is written, and training goes on.
func TestTogetherSaves(t *testing.T) {
	t.Parallel()
	f := small(t)
	out := filepath.Join(f.dir, "out")
	for rank, err := range f.together(2, func(r int, _ *config.Config, o *train.Options) context.Context {
		asked := make(chan os.Signal, 1)
		if o.SaveNow = asked; r == 1 {
			o.Progress = askAt{2, asked}
		}
		return nil
	}, "output_dir="+out, "max_steps=4") {
		if err != nil {
			t.Fatalf("rank %d: %v", rank, err)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "checkpoint-2")); err != nil {
		t.Error(err)
	}
}

// askAt asks for a checkpoint once that many steps are done.
type askAt struct {
	step  int
	asked chan<- os.Signal
}

func (a askAt) Step(done, _ int, _ float64, _ int) {
	if done == a.step {
		a.asked <- os.Interrupt
	}
}
func (askAt) Close() {}

// TestFastReduction: gradients that the library adds in its own order give the same run up
// to rounding.
func TestFastReduction(t *testing.T) {
	t.Parallel()
	f := small(t)
	args := func(out string, more ...string) []string {
		return append([]string{"output_dir=" + filepath.Join(f.dir, out), "ranks=4", "max_steps=4"}, more...)
	}
	f.mustTogether(1, args("tree")...)
	f.mustTogether(4, args("fast", "reduction=fast")...)
	a, _ := losses(t, filepath.Join(f.dir, "tree"))
	b, _ := losses(t, filepath.Join(f.dir, "fast"))
	for i := range a {
		if d := a[i] - b[i]; d > 1e-3 || d < -1e-3 {
			t.Errorf("step %d: losses %v and %v", i+1, a[i], b[i])
		}
	}
	if len(a) != 4 || slices.Max(a) == 0 {
		t.Error(a)
	}
}
