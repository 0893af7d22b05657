// Command gpubundle is what `make gpu-bundle` puts beside the programs and tests that it
// runs, as ./run: everything that only a machine with an NVIDIA GPU can tell, with nothing
// installed there but the driver, in three parts that each fit a call of ten minutes:
//
//	./run tests      the driver compiles all PTX; the tests of the kernels and of the driver, on the GPU
//	./run kernels    every kernel: 256 entries against float64, its time, its share of the ceiling
//	./run steps      whole training steps in tokens a second, and training on the CPU and on the GPU compared
//	./run            all three
//	./run --unpack   only unpacks bundle.tar.zst, into ./unpacked, as all of these do first
//
// A part ends by itself after --budget. It leaves PART/RESULTS.md, of a hundred lines at most,
// and PART/all.tgz, everything that was written, in the folder --out; RESULTS.md is
// written anew after every piece, so that a part that is cut off leaves what it had.
//
// Exit status: 0 all well, 1 something failed (RESULTS.md says what), 2 no usable GPU.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/tools/dashes"
	"dataflex.dev/dataflex/tools/watch"
)

// options are the flags.
type options struct {
	out    string
	budget time.Duration
	limit  time.Duration
	tiny   bool
	unpack bool
}

// runner runs one part.
type runner struct {
	options
	dir      string // of the unpacked bundle
	part     string
	raw      string // the folder of what programs write
	deadline time.Time
	res      Results
}

var errNoGPU = errors.New("no usable GPU")

// piece is one thing that a part does. share is of the budget: its own end.
type piece struct {
	name  string
	share float64
	run   func(*runner) error
}

// part fits a call.
type part struct {
	name   string
	pieces []piece
}

// parts in the order in which they are run.
var parts = []part{
	{"tests", []piece{{"query", 1, (*runner).query}, {"compile", 0.3, (*runner).compile}, {"test", 1, (*runner).tests}}},
	{"kernels", []piece{{"query", 1, (*runner).query}, {"bench", 1, (*runner).bench}}},
	{"steps", []piece{{"query", 1, (*runner).query}, {"step", 0.75, (*runner).steps}, {"train", 1, (*runner).train}}},
}

func main() {
	var o options
	pflag.StringVar(&o.out, "out", "results", "the folder for PART/RESULTS.md and PART/all.tgz")
	pflag.DurationVar(&o.budget, "budget", 520*time.Second, "how long a part may take")
	pflag.DurationVar(&o.limit, "limit", 20*time.Second, "how long a test or a kernel may write nothing before it counts as hung")
	pflag.BoolVar(&o.tiny, "tiny", false, "the smallest shapes: to try the bundle itself")
	pflag.BoolVar(&o.unpack, "unpack", false, "unpack the bundle and stop")
	dashes.Parse()
	err := run(o, pflag.Args())
	switch {
	case err == nil:
		return
	case errors.Is(err, errNoGPU):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "run:", err)
	os.Exit(1)
}

func run(o options, wanted []string) error {
	for _, w := range wanted {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == w }) {
			return fmt.Errorf("%s: the parts are tests, kernels and steps", w)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	dir := filepath.Join(filepath.Dir(exe), "unpacked")
	if err := unpack(filepath.Join(filepath.Dir(exe), "bundle.tar.zst"), dir); err != nil {
		return err
	}
	if o.unpack {
		return nil
	}
	var errs []error
	for _, p := range parts {
		if len(wanted) > 0 && !slices.Contains(wanted, p.name) {
			continue
		}
		r := &runner{options: o, dir: dir, part: p.name}
		err := r.all(p.pieces)
		if errors.Is(err, errNoGPU) {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// all runs the pieces. One that fails does not stop the others; without a GPU there is
// nothing to run.
func (r *runner) all(pieces []piece) error {
	out, err := filepath.Abs(filepath.Join(r.out, r.part))
	if err != nil {
		return err
	}
	r.raw = filepath.Join(filepath.Dir(r.dir), "raw-"+r.part)
	if err := errors.Join(os.RemoveAll(r.raw), os.MkdirAll(r.raw, 0o755), os.MkdirAll(out, 0o755)); err != nil {
		return err
	}
	begin := time.Now()
	r.res.Part = r.part
	var errs []error
	for _, p := range pieces {
		fmt.Printf("== %s ==\n", p.name)
		start := time.Now()
		r.deadline = begin.Add(time.Duration(p.share * float64(r.budget)))
		if err := p.run(r); err != nil {
			if errors.Is(err, errNoGPU) {
				return err
			}
			r.res.Failures = append(r.res.Failures, fmt.Sprintf("%s: %v", p.name, err))
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		r.res.Seconds = append(r.res.Seconds, Seconds{p.name, time.Since(start).Seconds()})
		if err := errors.Join(r.res.write(r.raw, out), archive(r.raw, filepath.Join(out, "all.tgz"))); err != nil {
			return err
		}
	}
	fmt.Printf("\n%s", r.res.markdown())
	return errors.Join(errs...)
}

// program runs one of the bundle's programs until the piece's time is up, its output in a
// file of r.raw and on the screen.
func (r *runner) program(log string, silence time.Duration, name string, args ...string) (string, error) {
	return r.command(log, silence, os.Stdout, exec.Command(name, args...))
}

func (r *runner) command(log string, silence time.Duration, w io.Writer, c *exec.Cmd) (string, error) {
	c.Dir = r.dir
	text, why, err := watch.Run(c, watch.Limits{First: silence, Silence: silence, Deadline: r.deadline}, w)
	if werr := os.WriteFile(filepath.Join(r.raw, log), []byte(text), 0o644); werr != nil {
		return text, werr
	}
	switch {
	case why != "":
		err = fmt.Errorf("%s: %s", filepath.Base(c.Path), why)
	case err != nil:
		err = fmt.Errorf("%s: %w: %s", filepath.Base(c.Path), err, lastLines(text, 3))
	}
	return text, err
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// left is what is left of the piece's time.
func (r *runner) left() time.Duration { return time.Until(r.deadline) }

// kbench runs it and reads its report, of which it may leave one even where it fails.
func (r *runner) kbench(name string, silence time.Duration, args ...string) error {
	json := filepath.Join(r.raw, name+".json")
	args = append([]string{"-device", "cuda", "-json", json}, args...)
	if r.tiny {
		args = append(args, "-tiny")
	}
	_, err := r.program(name+".log", silence, filepath.Join(r.dir, "kbench"), args...)
	return errors.Join(err, readJSON(json, &r.res.Device))
}

// query finds out whether there is a GPU to run anything on.
func (r *runner) query() error {
	if err := r.kbench("query", time.Minute, "-query"); err != nil {
		text, _ := os.ReadFile(filepath.Join(r.raw, "query.log"))
		return fmt.Errorf("%w: %s", errNoGPU, strings.TrimPrefix(lastLines(string(text), 1), "kbench: "))
	}
	return nil
}

// compile has the driver compile every PTX file of the bundle.
func (r *runner) compile() error {
	return r.kbench("ptx", 2*time.Minute, "-ptx", filepath.Join(r.dir, "ptx"))
}

// bench checks and times every kernel.
func (r *runner) bench() error {
	return r.kbench("kbench", r.left(), "-check", "-generations", "-limit", r.limit.String(),
		"-budget", (r.left() - 10*time.Second).Round(time.Second).String(), "-csv", filepath.Join(r.raw, "kbench.csv"))
}

// steps times whole steps.
func (r *runner) steps() error {
	models, tokens := "llama3-8b,smollm2-135m,qwen2.5-7b", "512,2048,8192"
	if r.tiny {
		models, tokens = "tiny", "8,16"
	}
	return r.kbench("step", r.left(), "-step", models, "-tokens", tokens, "-select", "-budget", (r.left() - 10*time.Second).Round(time.Second).String())
}
