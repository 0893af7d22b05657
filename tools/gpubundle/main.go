// Command gpubundle is what `make gpu-bundle` puts beside the programs and tests that it
// runs, as ./run: everything that only a machine with an NVIDIA GPU can tell, in one go,
// with nothing installed there but the driver.
//
//	./run                 all of it: about 20 minutes
//	./run -quick          few repeats of everything
//	./run -only tests     parts: query, ptx, tests, train, bench, ptxas
//	./run -unpack         only unpacks bundle.tar.zst, into ./unpacked, as all of these do first
//
// It asks the device what it is; has the driver compile all PTX; runs every test of the
// kernels and of the driver on the GPU, each alone if one of them brings the process
// down; trains on the CPU and on the GPU and compares; checks and times every kernel, where
// a python3 has torch beside it; with ptxas on the PATH, lists registers and spills. results.json and RESULTS.md in -out say what came of it.
//
// Exit status: 0 all well, 1 something failed (RESULTS.md says what), 2 no usable GPU.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	only, out   string
	quick, tiny bool
	unpack      bool
}

// runner knows where the bundle and the results are.
type runner struct {
	options
	dir string // of the unpacked bundle
	res Results
}

var errNoGPU = errors.New("no usable GPU")

// parts in the order they run in.
var parts = []struct {
	name string
	run  func(*runner) error
}{
	{"query", (*runner).query},
	{"ptx", (*runner).compile},
	{"tests", (*runner).tests},
	{"train", (*runner).train},
	{"bench", (*runner).bench},
	{"ptxas", (*runner).ptxas},
}

func main() {
	var o options
	flag.StringVar(&o.out, "out", "results", "the folder for results.json, RESULTS.md and what they were made of")
	flag.StringVar(&o.only, "only", "", "parts to run, comma-separated: query, ptx, tests, train, bench, ptxas")
	flag.BoolVar(&o.quick, "quick", false, "few repeats, short runs")
	flag.BoolVar(&o.tiny, "tiny", false, "the smallest shapes: to try the bundle itself")
	flag.BoolVar(&o.unpack, "unpack", false, "unpack the bundle and stop")
	flag.Parse()
	err := run(o)
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

func run(o options) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	r := &runner{options: o, dir: filepath.Join(filepath.Dir(exe), "unpacked")}
	if err := unpack(filepath.Join(filepath.Dir(exe), "bundle.tar.zst"), r.dir); err != nil {
		return err
	}
	if o.unpack {
		return nil
	}
	return r.all()
}

// all runs the parts. One that fails does not stop the others; without a GPU there is
// nothing to run.
func (r *runner) all() error {
	var err error
	if r.out, err = filepath.Abs(r.out); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	wanted := strings.FieldsFunc(r.only, func(c rune) bool { return c == ',' })
	var errs []error
	for _, p := range parts {
		if p.name != "query" && len(wanted) > 0 && !slices.Contains(wanted, p.name) {
			continue
		}
		fmt.Printf("== %s ==\n", p.name)
		start := time.Now()
		if err := p.run(r); err != nil {
			if errors.Is(err, errNoGPU) {
				return err
			}
			fmt.Println(err)
			r.res.Failures = append(r.res.Failures, fmt.Sprintf("%s: %v", p.name, err))
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		r.res.Seconds = append(r.res.Seconds, Seconds{p.name, time.Since(start).Seconds()})
		if err := r.res.write(r.out); err != nil { // what is known so far is not lost
			return err
		}
	}
	fmt.Printf("%s\n%s\n", filepath.Join(r.out, "results.json"), filepath.Join(r.out, "RESULTS.md"))
	return errors.Join(errs...)
}

// program runs one of the bundle's programs, its output in a file of r.out.
func (r *runner) program(log string, limit time.Duration, env []string, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Dir = r.dir
	c.Env = append(os.Environ(), env...)
	out, err := output(c, limit)
	if werr := os.WriteFile(filepath.Join(r.out, log), []byte(out), 0o644); werr != nil {
		return out, werr
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", filepath.Base(name), err, lastLines(out, 3))
	}
	return out, err
}

// output is what c writes, stdout and stderr together, and is ended at the limit.
func output(c *exec.Cmd, limit time.Duration) (string, error) {
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	if err := c.Start(); err != nil {
		return "", err
	}
	late := false
	timer := time.AfterFunc(limit, func() { late = true; c.Process.Kill() })
	err := c.Wait()
	if !timer.Stop() && late {
		err = fmt.Errorf("no end after %v", limit)
	}
	return b.String(), err
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// query finds out whether there is a GPU to run anything on.
func (r *runner) query() error {
	out, err := r.program("query.log", time.Minute, nil, filepath.Join(r.dir, "kbench"), "-device", "cuda", "-query", "-json", filepath.Join(r.out, "query.json"))
	if err != nil {
		text := strings.TrimPrefix(lastLines(out, 1), "kbench: ")
		return fmt.Errorf("%w: %s", errNoGPU, text)
	}
	fmt.Print(out)
	return readJSON(filepath.Join(r.out, "query.json"), &r.res.Device)
}

// compile has the driver compile every PTX file of the bundle.
func (r *runner) compile() error {
	json := filepath.Join(r.out, "ptx.json")
	_, err := r.program("ptx.log", 10*time.Minute, nil, filepath.Join(r.dir, "kbench"), "-device", "cuda", "-ptx", filepath.Join(r.dir, "ptx"), "-json", json)
	var d Device
	if rerr := readJSON(json, &d); rerr != nil {
		return errors.Join(err, rerr)
	}
	r.res.Kernels = d.Kernels
	fmt.Printf("%d kernels\n", len(d.Kernels))
	return err
}

// bench times every kernel.
func (r *runner) bench() error {
	args := []string{"-device", "cuda", "-check", "-generations", "-budget", "30m", "-json", filepath.Join(r.out, "kbench.json"), "-csv", filepath.Join(r.out, "kbench.csv")}
	if r.quick {
		args = append(args, "-quick")
	}
	if r.tiny {
		args = append(args, "-tiny")
	}
	out, err := r.program("kbench.log", 60*time.Minute, nil, filepath.Join(r.dir, "kbench"), args...)
	fmt.Print(out)
	return errors.Join(err, readJSON(filepath.Join(r.out, "kbench.json"), &r.res.Device))
}
