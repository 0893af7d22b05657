package train_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// childConfig makes the test binary a training program: see TestMain.
const childConfig = "DATAFLEX_TEST_TRAIN"

func TestMain(m *testing.M) {
	if args := os.Getenv(childConfig); args != "" {
		os.Exit(child(strings.Split(args, "\n")))
	}
	os.Exit(run(m))
}

// run gives the tests a cache of their own.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "train-test")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Setenv("DATAFLEX_CACHE", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// child trains and prints a line after every step.
func child(args []string) int {
	c, err := config.Load(args[0], args[1:])
	if err == nil {
		err = train.Run(context.Background(), c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler), Progress: stepLines{}})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

type stepLines struct{}

func (stepLines) Step(done, _ int, _ float64, _ int) { fmt.Println("step", done) }
func (stepLines) Close()                             {}

// killAfter starts a run and sends SIGKILL as soon as it has done that many steps; with 0 it
// runs to its end.
func killAfter(t *testing.T, f *fixture, steps int, overrides []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childConfig+"="+strings.Join(append([]string{filepath.Join(f.dir, "run.yaml")}, overrides...), "\n"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for s := bufio.NewScanner(out); s.Scan(); {
		if n++; n == steps {
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil && steps == 0 {
		t.Fatalf("the run failed: %v", err)
	}
}

// TestKilledRunsEndTheSame kills runs at random steps, resumes them with the same command,
// and compares the adapter with that of an undisturbed run, byte for byte; and the log, line
// by line in steps and losses.
func TestKilledRunsEndTheSame(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"static": {"overwrite_output_dir=true", "max_steps=9", "save_steps=2", "lora_dropout=0.1"},
		"less":   {"train_type=dynamic_select", "component_name=less", "max_steps=-1", "update_times=3", "num_train_epochs=1.5", "save_steps=3", "save_total_limit=2"},
		"full":   {"finetuning_type=full", "max_steps=5", "save_steps=2", "learning_rate=1e-4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := newFixture(t)
			killAfter(t, whole, 0, args)
			broken := newFixture(t)
			r := rand.New(rand.NewPCG(1, uint64(len(args))))
			for range 3 {
				killAfter(t, broken, 1+r.IntN(5), args)
			}
			killAfter(t, broken, 0, args)
			a, b := filepath.Join(whole.dir, "out"), filepath.Join(broken.dir, "out")
			file := "adapter_model.safetensors"
			if name == "full" {
				file = "model.safetensors"
			}
			if !sameFile(t, filepath.Join(a, file), filepath.Join(b, file)) {
				t.Errorf("the weights differ from those of an uninterrupted run")
			}
			la, na := losses(t, a)
			lb, nb := losses(t, b)
			if fmt.Sprint(la, na) != fmt.Sprint(lb, nb) {
				t.Errorf("logged losses and norms differ:\n%v %v\n%v %v", la, na, lb, nb)
			}
		})
	}
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(x) == string(y)
}

// TestInterrupted: Ctrl-C saves a checkpoint of the last finished step.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = train.Run(ctx, c, train.Options{Out: os.Stderr, Log: slog.New(slog.DiscardHandler), Progress: cancelAt{3, cancel}})
	if !errors.Is(err, train.ErrInterrupted) {
		t.Fatalf("interrupted run: %v", err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "out", "checkpoint-3", "manifest.json")); err != nil {
		t.Error(err)
	}
}

type cancelAt struct {
	step   int
	cancel context.CancelFunc
}

func (c cancelAt) Step(done, _ int, _ float64, _ int) {
	if done == c.step {
		c.cancel()
	}
}
func (cancelAt) Close() {}
