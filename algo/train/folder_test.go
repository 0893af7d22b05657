package train_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// said trains and returns the log.
func (f *fixture) said(o train.Options, overrides ...string) (string, error) {
	f.t.Helper()
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), overrides)
	if err != nil {
		f.t.Fatal(err)
	}
	var log strings.Builder
	o.Out, o.Log = &log, slog.New(slog.NewTextHandler(&log, nil))
	err = train.Run(context.Background(), c, o)
	return log.String(), err
}

// begun trains until that many steps are done.
func (f *fixture) begun(steps int, args ...string) {
	f.t.Helper()
	if f.killed(steps, args...) {
		f.t.Fatal("the run was over")
	}
}

// cutOff trains until that many steps are done, if it does not end before, and returns the log.
func (f *fixture) cutOff(steps int, o train.Options, args ...string) string {
	f.t.Helper()
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), args)
	if err != nil {
		f.t.Fatal(err)
	}
	var log strings.Builder
	o.Out, o.Log, o.Progress = &log, slog.New(slog.NewTextHandler(&log, nil)), killAt(steps)
	var run sync.WaitGroup
	run.Go(func() { err = train.Run(context.Background(), c, o) })
	run.Wait()
	if err != nil {
		f.t.Error(err)
	}
	return log.String()
}

// TestSameCommandGoesOn: with any value of overwrite_output_dir, the same command continues
// its own unfinished run, logs that, and ends with the same bytes; with --restart it does
// not.
func TestSameCommandGoesOn(t *testing.T) {
	t.Parallel()
	f := small(t)
	whole, out := filepath.Join(f.dir, "whole"), filepath.Join(f.dir, "out")
	args := []string{"save_steps=2", "max_steps=5", "overwrite_output_dir=true"}
	f.must(append(args, "output_dir="+whole)...)
	args = append(args, "output_dir="+out)
	f.begun(4, args...)
	log, err := f.said(train.Options{}, args...)
	if err != nil || !strings.Contains(log, "checkpoint-2") || !strings.Contains(log, "it is continued") {
		t.Errorf("it does not go on: %v\n%s", err, log)
	}
	if string(adapter(t, whole)) != string(adapter(t, out)) {
		t.Error("the weights differ from those of an uninterrupted run")
	}
	again := filepath.Join(f.dir, "again")
	args = append(args[:3], "output_dir="+again)
	f.begun(4, args...)
	if log, err = f.said(train.Options{Restart: true}, args...); err != nil || strings.Contains(log, "resuming") {
		t.Errorf("--restart: %v\n%s", err, log)
	}
	if got := checkpoints(t, again+".old-1"); len(got) != 1 || got[0] != 2 {
		t.Errorf("--restart set aside checkpoints %v", got)
	}
}

// TestAnotherRunIsSetAside: files of another run, finished or not, are moved as a whole, and
// the log names the differences; the new run never resumes from it.
func TestAnotherRunIsSetAside(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "selectors:\n  it: {name: random}\n  two: {name: random, params: {seed: 7}}\n")
	base := []string{"save_steps=2", "max_steps=5"}
	selects := []string{"train_type=dynamic_select", "component_name=it"}
	for i, c := range []struct {
		was, is []string
		want    string
	}{
		{nil, []string{"seed=7"}, "seed was 42, is now 7"},
		{nil, []string{"model_name_or_path=" + f.dir + "/experts"}, "model_name_or_path was another content"},
		{nil, []string{"lora_rank=2"}, "lora_rank was 4, is now 2"},
		{nil, []string{"dataset=other"}, "dataset was another content"},
		{nil, []string{"per_device_train_batch_size=1"}, "per_device_train_batch_size was 2, is now 1"},
		{nil, selects, "train_type was static, is now dynamic_select"},
		{selects, []string{"train_type=dynamic_select", "component_name=two"}, "component_name was random faithful {}, is now random faithful {seed: 7}"},
	} {
		for _, over := range []bool{false, true} {
			f.t = t
			args := append(base, "output_dir="+filepath.Join(f.dir, "out"))
			if over {
				f.must(append(args, c.was...)...)
			} else {
				f.begun(4, append(args, c.was...)...)
			}
			before, err := os.ReadFile(filepath.Join(f.dir, "out/checkpoint-2/adapter_model.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			log, err := f.said(train.Options{}, append(append(args, c.is...), "max_steps=1", "save_strategy=no")...)
			if err != nil || !strings.Contains(log, c.want) || !strings.Contains(log, "out.old-1") || strings.Contains(log, "resuming") {
				t.Errorf("%d: %v, want %q in\n%s", i, err, c.want, log)
			}
			after, err := os.ReadFile(filepath.Join(f.dir, "out.old-1/checkpoint-2/adapter_model.safetensors"))
			if err != nil || string(after) != string(before) {
				t.Errorf("%d: the other run's checkpoint is lost: %v", i, err)
			}
			for _, dir := range []string{"out", "out.old-1"} {
				if err := os.RemoveAll(filepath.Join(f.dir, dir)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestSettingsMayChange: changed hyperparameters do not make another run; each is logged
// with its old value, and max_steps extends a finished run.
func TestSettingsMayChange(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.must("max_steps=3", "save_steps=2")
	log, err := f.said(train.Options{}, "max_steps=5", "learning_rate=1e-4", "save_steps=2", "logging_steps=2")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"checkpoint-3", "max_steps was 3, is now 5", "learning_rate was 0.002, is now 0.0001", "logging_steps was 1, is now 2"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "save_steps was") || strings.Contains(log, "set aside") {
		t.Errorf("the log says too much:\n%s", log)
	}
}

// TestFinishedRun: a finished run is reported as such and left unchanged; with
// overwrite_output_dir it is trained again, and kept until there is a new checkpoint.
func TestFinishedRun(t *testing.T) {
	t.Parallel()
	f := small(t)
	out := filepath.Join(f.dir, "out")
	args := []string{"max_steps=4", "save_steps=2"}
	f.must(args...)
	before, err := os.Stat(filepath.Join(out, "adapter_model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := f.said(train.Options{}, args...)
	if err != nil || !strings.Contains(log, "the run is finished") {
		t.Errorf("%v\n%s", err, log)
	}
	if after, err := os.Stat(filepath.Join(out, "adapter_model.safetensors")); err != nil || !os.SameFile(before, after) {
		t.Errorf("its weights were written again: %v", err)
	}
	args = append(args, "overwrite_output_dir=true")
	f.begun(2, args...)
	if got := checkpoints(t, out+".old-1"); len(got) != 2 {
		t.Errorf("before the new run has a checkpoint the finished one's are %v", got)
	}
	f.begun(4, args...)
	if _, err := os.Stat(out + ".old-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the new run has a checkpoint, and the finished one is still there: %v", err)
	}
	f.must(args...)
	f.must("max_steps=4", "save_strategy=no", "overwrite_output_dir=true")
	if _, err := os.Stat(out + ".old-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a run without checkpoints leaves the one it replaced: %v", err)
	}
}

// TestEarlierVersionsCheckpoint: checkpoints of version 1 (kept from commit 6777f94) can be
// resumed, with the losses of that program.
func TestEarlierVersionsCheckpoint(t *testing.T) {
	t.Parallel()
	f := small(t)
	want := map[string][]float64{"doremi": {6.8656, 4.4567, 4.5626, 6.5858, 4.2863}, "delta_loss": {7.2482, 7.3321, 7.0207, 7.0417, 6.8456, 7.1141}}
	for _, m := range methods(t) {
		if m.mode != "faithful" || want[m.name] == nil {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			f.t = t
			out := filepath.Join(f.dir, m.name)
			if err := os.CopyFS(out, os.DirFS("testdata/version1/"+m.name)); err != nil {
				t.Fatal(err)
			}
			args := m.arguments(f, "save_steps=2", "max_steps=6", "output_dir="+out, "eval_strategy=steps", "eval_steps=1", "metric_for_best_model=eval_loss")
			log, err := f.said(train.Options{}, args...)
			if err != nil || !strings.Contains(log, "of an earlier version") {
				t.Fatalf("%v\n%s", err, log)
			}
			loss, _ := losses(t, out)
			if len(loss) != len(want[m.name]) {
				t.Fatalf("losses %v, want %v", loss, want[m.name])
			}
			for i := range loss {
				if d := loss[i] - want[m.name][i]; d > 2e-4 || d < -2e-4 {
					t.Errorf("losses %v, want %v", loss, want[m.name])
				}
			}
		})
	}
}

// TestTwoProcesses: a second run in the same folder is refused with an error that names the
// first; the folder of a dead process is free.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	f := small(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+strings.Join([]string{filepath.Join(f.dir, "run.yaml"), "max_steps=100000", "save_strategy=no"}, "\n"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 4)); err != nil { // it has done a step
		t.Fatal(err)
	}
	_, err = f.said(train.Options{}, "max_steps=1")
	if err == nil || !strings.Contains(err.Error(), "process "+fmt.Sprint(cmd.Process.Pid)) || strings.Count(err.Error(), "another run writes into") != 1 {
		t.Errorf("a second run: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	f.must("max_steps=1")
	if left, _ := filepath.Glob(filepath.Join(f.dir, "out", ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestResumeFromEarlier: checkpoints later than the one that a run is told to resume from
// belong to another continuation: they are moved, so that a later resume does not use them.
func TestResumeFromEarlier(t *testing.T) {
	t.Parallel()
	f := small(t)
	out := filepath.Join(f.dir, "out")
	f.must("max_steps=6", "save_steps=2")
	f.begun(4, "max_steps=6", "save_steps=1", "resume_from_checkpoint="+filepath.Join(out, "checkpoint-2"))
	if got := checkpoints(t, out); len(got) != 2 || got[1] != 3 {
		t.Errorf("checkpoints of steps %v, want 2 and 3", got)
	}
	if got := checkpoints(t, out+".old-1"); len(got) != 2 || got[0] != 4 || got[1] != 6 {
		t.Errorf("set aside: checkpoints of steps %v, want 4 and 6", got)
	}
}

// TestResumeFromElsewhere: a run that resumes from a checkpoint of another folder and is
// interrupted goes on from its own checkpoint when the same command is given again, also
// before it has one. Another checkpoint, or --restart, begins again from there.
func TestResumeFromElsewhere(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.must("max_steps=8", "save_steps=1", "output_dir="+filepath.Join(f.dir, "first"))
	out := filepath.Join(f.dir, "out")
	from := func(step int) []string {
		return []string{"max_steps=8", "save_steps=3", "resume_from_checkpoint=" + filepath.Join(f.dir, "first", fmt.Sprint("checkpoint-", step))}
	}
	f.begun(5, from(4)...)
	for _, c := range []struct {
		from, stop int
		restart    bool
		where      string
		aside      int
	}{
		{4, 7, false, "first/checkpoint-4", 0}, // nothing was saved
		{4, 8, false, "out/checkpoint-6", 0},
		{5, 7, false, "first/checkpoint-5", 1},
		{5, 7, true, "first/checkpoint-5", 2},
		{5, 9, false, "out/checkpoint-6", 2},
	} {
		log := f.cutOff(c.stop, train.Options{Restart: c.restart}, from(c.from)...)
		_, after, _ := strings.Cut(log, "msg=resuming checkpoint="+f.dir+"/")
		if got, _, _ := strings.Cut(after, "\n"); got != c.where {
			t.Errorf("from %d, restart %v: it went on from %q, want %q\n%s", c.from, c.restart, got, c.where, log)
		}
		if aside, _ := filepath.Glob(out + ".old-*"); len(aside) != c.aside {
			t.Errorf("from %d, restart %v: set aside %v, want %d", c.from, c.restart, aside, c.aside)
		}
	}
	if !sameFile(t, filepath.Join(out, "adapter_model.safetensors"), filepath.Join(f.dir, "first", "adapter_model.safetensors")) {
		t.Error("the weights differ from those of an undisturbed run")
	}
}

// TestLinkedCheckpoint: a checkpoint moved to another disk, with a link in its place, is one.
func TestLinkedCheckpoint(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.begun(5, "max_steps=6", "save_steps=2")
	out, other := filepath.Join(f.dir, "out"), filepath.Join(f.dir, "other disk")
	if err := os.Rename(filepath.Join(out, "checkpoint-4"), other); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, filepath.Join(out, "checkpoint-4")); err != nil {
		t.Fatal(err)
	}
	log, err := f.said(train.Options{}, "max_steps=6", "save_steps=2", "save_total_limit=1")
	if err != nil || !strings.Contains(log, "msg=resuming checkpoint="+out+"/checkpoint-4") {
		t.Errorf("%v\n%s", err, log)
	}
	if got := checkpoints(t, out); len(got) != 1 || got[0] != 6 {
		t.Errorf("checkpoints of steps %v, want 6", got)
	}
	if _, err := os.Stat(filepath.Join(other, "manifest.json")); err != nil {
		t.Errorf("the rotation removed what the link pointed to: %v", err)
	}
}
