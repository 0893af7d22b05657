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
	"time"
)

// Test is one test on the GPU.
type Test struct {
	Package string  `json:"package"`
	Name    string  `json:"name"`
	Result  string  `json:"result"` // PASS, FAIL, SKIP, or CRASH: the process ended in it
	Seconds float64 `json:"seconds"`
	Output  string  `json:"output,omitempty"` // of those that fail
}

// tests runs the test binaries, each in the folder of its testdata.
func (r *runner) tests() error {
	found, err := filepath.Glob(filepath.Join(r.dir, "tests", "*", "*.test"))
	if err != nil {
		return err
	}
	failed := 0
	for _, name := range found {
		results, err := r.binary(name)
		if err != nil {
			return err
		}
		count := map[string]int{}
		for _, t := range results {
			count[t.Result]++
		}
		failed += count["FAIL"] + count["CRASH"]
		fmt.Printf("%-12s %3d pass, %d fail, %d crash, %d skip\n", filepath.Base(filepath.Dir(name)), count["PASS"], count["FAIL"], count["CRASH"], count["SKIP"])
		r.res.Tests = append(r.res.Tests, results...)
	}
	if failed > 0 {
		return fmt.Errorf("%d tests failed", failed)
	}
	return nil
}

// binary runs the tests of one binary in one process, and those that are left in another
// whenever one of them ends it.
func (r *runner) binary(name string) ([]Test, error) {
	family := filepath.Base(filepath.Dir(name))
	command := func(args ...string) (string, error) {
		c := exec.Command(name, args...)
		c.Dir = filepath.Dir(name)
		c.Env = append(os.Environ(), "DATAFLEX_TEST_DEVICE=cuda")
		return output(c, 10*time.Minute)
	}
	list, err := command("-test.list", ".")
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", family, err, lastLines(list, 3))
	}
	left := slices.DeleteFunc(strings.Fields(list), func(s string) bool { return !strings.HasPrefix(s, "Test") })
	var out []Test
	log, err := os.Create(filepath.Join(r.out, family+".test.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	for len(left) > 0 {
		text, err := command("-test.v", "-test.timeout", "5m", "-test.run", "^("+strings.Join(left, "|")+")$")
		if _, werr := io.WriteString(log, text); werr != nil {
			return nil, werr
		}
		done := parse(family, text, err)
		if len(done) == 0 {
			return nil, fmt.Errorf("%s: %w: %s", family, errors.Join(err, errors.New("no test ran")), lastLines(text, 3))
		}
		out = append(out, done...)
		left = slices.DeleteFunc(left, func(s string) bool {
			return slices.ContainsFunc(done, func(t Test) bool { return t.Name == s })
		})
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
