package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// opLimit is how long the cases of one operation may take in a process of their own.
const opLimit = 5 * time.Minute

// isolated measures every operation in a process of its own: one that hangs, or that
// leaves the device unusable, costs its own cases alone.
func isolated(o options, cases []Case, w io.Writer) (*Report, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var all *Report
	for _, group := range byOperation(cases) {
		part, err := separate(exe, filepath.Join(dir, "part.json"), o, group, w)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = part
			continue
		}
		all.Records = append(all.Records, part.Records...)
		all.Ceilings.raise(part.Ceilings)
	}
	all.relate()
	all.summary(w)
	return all, nil
}

// byOperation groups cases, in the order in which the operations come first.
func byOperation(cases []Case) [][]Case {
	var out [][]Case
	at := map[string]int{}
	for _, c := range cases {
		i, ok := at[c.Op]
		if !ok {
			i = len(out)
			at[c.Op] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], c)
	}
	return out
}

// separate measures cases in another process. What that process did not get to has its
// end for an error.
func separate(exe, path string, o options, cases []Case, w io.Writer) (*Report, error) {
	names := make([]string, len(cases))
	for i, c := range cases {
		names[i] = regexp.QuoteMeta(c.Name())
	}
	args := []string{"-device", o.device, "-json", path, "-run", "^(" + strings.Join(names, "|") + ")$"}
	if o.quick {
		args = append(args, "-quick")
	}
	if o.tiny {
		args = append(args, "-tiny")
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, err
	}
	var text strings.Builder
	c := exec.Command(exe, args...)
	c.Stdout, c.Stderr = &text, &text
	if err := c.Start(); err != nil {
		return nil, err
	}
	timer := time.AfterFunc(opLimit, func() { c.Process.Kill() })
	end := c.Wait()
	if !timer.Stop() {
		end = fmt.Errorf("no end after %v", opLimit)
	}
	r := &Report{}
	if b, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(b, r); err != nil {
			return nil, err
		}
	}
	for _, c := range cases[len(r.Records):] {
		lines := strings.Split(strings.TrimSpace(text.String()), "\n")
		record := newRecord(c)
		record.Error = fmt.Sprintf("not measured, its process ended: %v: %s", end, lines[len(lines)-1])
		r.Records = append(r.Records, record)
	}
	for _, k := range r.Records {
		fmt.Fprintln(w, k.line())
	}
	if end != nil && r.Kind == "" && strings.Contains(text.String(), "no NVIDIA driver") {
		return nil, errors.New(strings.TrimPrefix(strings.TrimSpace(text.String()), "kbench: "))
	}
	return r, nil
}

// raise keeps the higher of each ceiling, and the lower cost of a launch.
func (c *Ceilings) raise(d Ceilings) {
	c.Copy, c.Multiply, c.Tensor = max(c.Copy, d.Copy), max(c.Multiply, d.Multiply), max(c.Tensor, d.Tensor)
	if d.Launch > 0 && (c.Launch == 0 || d.Launch < c.Launch) {
		c.Launch = d.Launch
	}
}
