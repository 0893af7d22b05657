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

	"dataflex.dev/dataflex/tools/watch"
)

// budgeted measures cases in other processes until the time is up.
func budgeted(o options, cases []Case, w io.Writer) (*Report, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	python, missing, ours, deadline := divided(o.device, o.budget)
	p := parts{options: o, exe: exe, path: filepath.Join(dir, "part.json"), w: w, deadline: ours}
	probe := p.probe()
	all, err := p.measure(cases)
	if err != nil {
		return nil, err
	}
	all.Probe = probe
	if missing == "" {
		missing = all.torchCases(python, dir, o.device, time.Until(deadline), w)
	}
	all.NoTorch = missing
	all.relate()
	all.summary(w)
	return all, nil
}

// parts are the processes that measure.
type parts struct {
	options
	exe, path string
	w         io.Writer
	deadline  time.Time
}

// probe runs the self-test in a process of its own, and says how it went; what fails there is
// timed all the same, as the check tells where.
func (p parts) probe() string {
	if !p.check || p.device == "cpu" {
		return ""
	}
	limits := watch.Limits{First: 3 * p.limit, Silence: p.limit, Deadline: p.deadline} // it compiles everything
	text, why, err := watch.Run(exec.Command(p.exe, "-device", p.device, "-probe"), limits, p.w)
	switch {
	case why != "":
		return "self-test: " + why
	case err != nil:
		return "self-test: " + watch.LastLine(text, err)
	}
	return good
}

// measure goes through the cases, with another process after each that ends early.
func (p parts) measure(left []Case) (*Report, error) {
	all := &Report{}
	skip := func(c Case, why string) {
		r := newRecord(c)
		r.Error = why
		all.Records = append(all.Records, r)
	}
	for len(left) > 0 && time.Now().Before(p.deadline) {
		part, hung, err := p.separate(left)
		if err != nil {
			return nil, err
		}
		all.add(part)
		done := len(part.Records)
		for _, r := range part.Records {
			if r.Variant != "" {
				done--
			}
		}
		left = left[done:]
		if hung == "" {
			continue
		}
		var rest []Case
		for _, c := range left {
			if c.family() == hung {
				skip(c, "not measured: a case of "+hung+" did not come back")
				continue
			}
			rest = append(rest, c)
		}
		left = rest
	}
	for _, c := range left {
		skip(c, notReached)
	}
	return all, nil
}

// notReached is what a case has for an error that the budget had no time for.
const notReached = "not measured: the budget was spent"

// add takes what a part has measured.
func (r *Report) add(part *Report) {
	records := append(r.Records, part.Records...)
	if r.Kind == "" { // nothing has said yet what the device is
		*r = *part
	}
	r.Records = records
	r.Ceilings.raise(part.Ceilings)
}

// separate measures cases in another process, up to the first that fails, that does not come
// back (hung is its family then) or that is too late. The one that ended the process has its
// last words for an error.
func (p parts) separate(cases []Case) (r *Report, hung string, err error) {
	if err := os.RemoveAll(p.path); err != nil {
		return nil, "", err
	}
	limits := watch.Limits{First: 2 * p.limit, Silence: p.limit, Deadline: p.deadline} // the first case loads and compiles, too
	text, late, end := watch.Run(exec.Command(p.exe, p.arguments(cases)...), limits, p.w)
	r = &Report{}
	if b, err := os.ReadFile(p.path); err == nil {
		if err := json.Unmarshal(b, r); err != nil {
			return nil, "", err
		}
	}
	if r.Kind == "" && strings.Contains(text, "no NVIDIA driver") {
		return nil, "", errors.New(strings.TrimPrefix(strings.TrimSpace(text), "kbench: "))
	}
	next := 0 // the case that has no record
	for _, k := range r.Records {
		if k.Variant == "" {
			next++
		}
	}
	failed := len(r.Records) > 0 && r.Records[len(r.Records)-1].Error != ""
	if next == len(cases) || failed && late == "" || late == watch.OutOfTime {
		return r, "", nil
	}
	record := newRecord(cases[next])
	record.Error = "its process ended: " + watch.LastLine(text, end)
	if late != "" {
		record.Error, hung = late, cases[next].family()
	}
	fmt.Fprintln(p.w, record.line())
	r.Records = append(r.Records, record)
	return r, hung, nil
}

// arguments are those of a process that measures cases.
func (p parts) arguments(cases []Case) []string {
	names := make([]string, len(cases))
	for i, c := range cases {
		names[i] = regexp.QuoteMeta(c.Name())
	}
	args := []string{"-device", p.device, "-json", p.path, "-part", "-run", "^(" + strings.Join(names, "|") + ")$"}
	for name, set := range map[string]bool{"-quick": p.quick, "-tiny": p.tiny, "-check": p.check, "-generations": p.generations} {
		if set {
			args = append(args, name)
		}
	}
	return args
}

// raise keeps the higher of each ceiling, and the lower cost of a launch.
func (c *Ceilings) raise(d Ceilings) {
	c.Copy, c.Multiply, c.Tensor = max(c.Copy, d.Copy), max(c.Multiply, d.Multiply), max(c.Tensor, d.Tensor)
	if d.Launch > 0 && (c.Launch == 0 || d.Launch < c.Launch) {
		c.Launch = d.Launch
	}
}
