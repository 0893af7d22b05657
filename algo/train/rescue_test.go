package train_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// onMessage calls a function when a message is logged.
type onMessage struct {
	slog.Handler
	message string
	call    func()
}

func (h onMessage) Enabled(context.Context, slog.Level) bool { return true }

func (h onMessage) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.message {
		h.call()
	}
	return nil
}

func (f *fixture) runWith(o train.Options, overrides ...string) error {
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), overrides)
	if err != nil {
		return err
	}
	return train.Run(context.Background(), c, o)
}

type panicAt int

func (p panicAt) Step(done, _ int, _ float64, _ int) {
	if done == int(p) {
		panic("planted")
	}
}
func (panicAt) Close() {}

// TestPanicIsRescued: a panic in the middle of a run, after a step or while a window is
// opened, ends it with one error, with the last finished step saved: the resumed run ends
// with the bytes of a run without the panic.
func TestPanicIsRescued(t *testing.T) {
	t.Parallel()
	args := []string{"train_type=dynamic_select", "component_name=random", "max_steps=-1", "num_train_epochs=1.0"}
	clean := newFixture(t)
	clean.must(args...)
	want := adapter(t, filepath.Join(clean.dir, "out"))
	quiet := slog.New(slog.DiscardHandler)
	for name, o := range map[string]train.Options{
		"after a step": {Out: os.Stderr, Log: quiet, Progress: panicAt(2)},
		"in a window":  {Out: os.Stderr, Log: slog.New(onMessage{slog.DiscardHandler, "selection", func() { panic("planted") }})},
	} {
		f := newFixture(t)
		err := f.runWith(o, args...)
		if err == nil || !strings.Contains(err.Error(), "planted (algo/train/rescue_test.go:") || !strings.Contains(err.Error(), "step 2 is saved in "+filepath.Join(f.dir, "out", "checkpoint-2")) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		f.must(args...)
		if !bytes.Equal(adapter(t, filepath.Join(f.dir, "out")), want) {
			t.Errorf("%s: the run that went on ends in other weights", name)
		}
	}
}

// TestSaveDuringSelection: a checkpoint that is requested while rows are selected is saved
// at once, and the selection is still made.
func TestSaveDuringSelection(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("the program of this test is in sh: ", err)
	}
	f := newFixture(t)
	f.write("pick.sh", fmt.Sprintf("read -r l; echo asked >&2; if mkdir %s/first 2>/dev/null; then exec sleep 1000; fi; echo '{\"indices\": [0,1,2,3,4,5,6,7]}'\n", f.dir))
	f.write("components.yaml", fmt.Sprintf("selectors:\n  custom:\n    name: custom\n    params: {command: [sh, %s/pick.sh], timeout: 60}\n", f.dir))
	asked := make(chan os.Signal, 1)
	first := true
	log := slog.New(onMessage{slog.DiscardHandler, "asked", func() {
		if first {
			first = false
			asked <- os.Interrupt // any signal will do
		}
	}})
	err := f.runWith(train.Options{Out: os.Stderr, Log: log, SaveNow: asked}, "train_type=dynamic_select", "component_name=custom", "max_steps=-1", "num_train_epochs=1.0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "out", "checkpoint-2", "manifest.json")); err != nil {
		t.Error(err)
	}
}
