package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Assembled is what a ptxas on the machine says of a kernel.
type Assembled struct {
	Name      string `json:"name"`
	File      string `json:"file"`
	Target    string `json:"target"`
	Registers int    `json:"registers"`
	Spills    int    `json:"spill_bytes"`
	Stack     int    `json:"stack_bytes"`
}

// findPTXAS looks where toolkits install it.
func findPTXAS() string {
	for _, p := range []string{os.Getenv("PTXAS"), "ptxas", "/usr/local/cuda/bin/ptxas"} {
		if p == "" {
			continue
		}
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	return ""
}

// ptxas assembles every PTX file for its target, if there is a ptxas.
func (r *runner) ptxas() error {
	tool := findPTXAS()
	if tool == "" {
		fmt.Println("no ptxas on this machine")
		return nil
	}
	files, err := filepath.Glob(filepath.Join(r.dir, "ptx", "*.ptx"))
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		target := "sm_80"
		if strings.Contains(f, ".sm90a.") {
			target = "sm_90a"
		}
		out, err := output(exec.Command(tool, "-v", "-arch="+target, f, "-o", os.DevNull), 5*time.Minute)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w: %s", filepath.Base(f), err, lastLines(out, 3)))
		}
		for _, k := range assembled(out) {
			k.File, k.Target = filepath.Base(f), target
			if k.Spills+k.Stack > 0 {
				errs = append(errs, fmt.Errorf("%s: %s spills %d bytes, stack %d", k.File, k.Name, k.Spills, k.Stack))
			}
			r.res.Assembled = append(r.res.Assembled, k)
		}
	}
	fmt.Printf("%s: %d kernels\n", tool, len(r.res.Assembled))
	return errors.Join(errs...)
}

var (
	compiling = regexp.MustCompile(`Compiling entry function '(.*?)' for`)
	frame     = regexp.MustCompile(`(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads`)
	used      = regexp.MustCompile(`Used (\d+) registers`)
)

// assembled reads what ptxas -v writes.
func assembled(text string) []Assembled {
	var out []Assembled
	number := func(s string) int {
		n, _ := strconv.Atoi(s) // digits, by the expressions above
		return n
	}
	for line := range strings.Lines(text) {
		if m := compiling.FindStringSubmatch(line); m != nil {
			out = append(out, Assembled{Name: m[1]})
			continue
		}
		if len(out) == 0 {
			continue
		}
		k := &out[len(out)-1]
		if m := frame.FindStringSubmatch(line); m != nil {
			k.Stack, k.Spills = number(m[1]), number(m[2])+number(m[3])
		}
		if m := used.FindStringSubmatch(line); m != nil {
			k.Registers = number(m[1])
		}
	}
	return out
}
