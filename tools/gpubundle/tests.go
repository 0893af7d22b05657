package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/tools/watch"
)

// Test is one test on the GPU.
type Test struct {
	Package string  `json:"package"`
	Name    string  `json:"name"`
	Result  string  `json:"result"` // PASS, FAIL, SKIP, CRASH: the process ended in it, HANG, or NOT RUN
	Seconds float64 `json:"seconds"`
	Output  string  `json:"output,omitempty"` // of those that fail
}

// order is which binaries run first: dev has the layouts of Hopper's instructions, which
// everything after it stands on, then what training spends its time in. The others follow.
var order = []string{"dev", "gemm", "attention", "xent", "gradproj", "norm", "swiglu", "rope", "cast", "cuda"}

// tests runs the test binaries, each in the folder of its testdata.
func (r *runner) tests() error {
	found, err := filepath.Glob(filepath.Join(r.dir, "tests", "*", "*.test"))
	if err != nil {
		return err
	}
	rank := func(path string) int {
		if i := slices.Index(order, filepath.Base(filepath.Dir(path))); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(found, func(a, b string) int { return rank(a) - rank(b) })
	count := map[string]int{}
	for _, name := range found {
		results, err := r.binary(name)
		if err != nil {
			return err
		}
		own := map[string]int{}
		for _, t := range results {
			own[t.Result]++
			count[t.Result]++
		}
		fmt.Printf("%-12s %3d pass, %d fail, %d crash, %d hang, %d skip, %d not run\n", filepath.Base(filepath.Dir(name)), own["PASS"], own["FAIL"], own["CRASH"], own["HANG"], own["SKIP"], own["NOT RUN"])
		r.res.Tests = append(r.res.Tests, results...)
	}
	if failed := count["FAIL"] + count["CRASH"] + count["HANG"]; failed > 0 {
		return fmt.Errorf("%d tests failed", failed)
	}
	return nil
}

// binary runs the tests of one binary in one process, and those that are left in another
// whenever one of them ends it. After one that hangs, and when the time is up, the rest is
// left alone.
func (r *runner) binary(name string) ([]Test, error) {
	family := filepath.Base(filepath.Dir(name))
	log, err := os.Create(filepath.Join(r.raw, family+".test.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := func(w io.Writer, args ...string) (text, why string, err error) {
		c := exec.Command(name, args...)
		c.Dir = filepath.Dir(name)
		c.Env = append(os.Environ(), "DATAFLEX_TEST_DEVICE=cuda")
		return watch.Run(c, watch.Limits{First: 2 * r.limit, Silence: r.limit, Deadline: r.deadline}, w)
	}
	list, why, err := command(io.Discard, "-test.list", ".")
	if err != nil && why != watch.OutOfTime {
		return nil, fmt.Errorf("%s: %w: %s", family, err, lastLines(list, 3))
	}
	if why == watch.OutOfTime {
		return []Test{{Package: family, Name: "all of them", Result: "NOT RUN"}}, nil
	}
	left := slices.DeleteFunc(strings.Fields(list), func(s string) bool { return !strings.HasPrefix(s, "Test") })
	var out []Test
	for len(left) > 0 && why == "" {
		var text string
		if text, why, err = command(log, "-test.v", "-test.run", "^("+strings.Join(left, "|")+")$"); why != "" {
			err = errors.New(why)
		}
		done := parse(family, text, err)
		if len(done) == 0 && why == "" {
			return nil, fmt.Errorf("%s: %w: %s", family, errors.Join(err, errors.New("no test ran")), lastLines(text, 3))
		}
		if n := len(done); n > 0 && done[n-1].Result == "CRASH" {
			switch why {
			case "":
			case watch.OutOfTime:
				done = done[:n-1]
			default:
				done[n-1].Result = "HANG"
			}
		}
		out = append(out, done...)
		left = slices.DeleteFunc(left, func(s string) bool {
			return slices.ContainsFunc(done, func(t Test) bool { return t.Name == s })
		})
	}
	for _, name := range left {
		out = append(out, Test{Package: family, Name: name, Result: "NOT RUN"})
	}
	return out, nil
}

var (
	began = regexp.MustCompile(`(?m)^=== RUN   (\w+)$`)
	ended = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\w+) \(([\d.]+)s\)$`)
)

// outputLimit is the bytes of a failed test's output that are kept.
const outputLimit = 4000

// parse reads what -test.v writes. Of a process that ended early, the first test that had
// begun and has no result is the one that ended it.
func parse(family, text string, err error) []Test {
	runs := began.FindAllStringSubmatchIndex(text, -1)
	result := map[string]Test{}
	for _, m := range ended.FindAllStringSubmatch(text, -1) {
		t := Test{Package: family, Result: m[1], Name: m[2]}
		t.Seconds, _ = strconv.ParseFloat(m[3], 64) // digits and points, by the expression
		result[t.Name] = t
	}
	var out []Test
	for i, m := range runs {
		name := text[m[2]:m[3]]
		hi := len(text)
		if i+1 < len(runs) {
			hi = runs[i+1][0]
		}
		t, ok := result[name]
		switch {
		case !ok && err == nil:
			continue
		case !ok:
			t = Test{Package: family, Name: name, Result: "CRASH"}
		}
		if t.Result == "FAIL" || t.Result == "CRASH" {
			t.Output = text[m[1]:min(hi, m[1]+outputLimit)]
		}
		out = append(out, t)
	}
	return out
}
