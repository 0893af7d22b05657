package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOutside: the example of an external selector builds as a separate module that requires
// ours, and its program trains with it; check reports its faults.
func TestOutside(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command")
	}
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	clone(t)
	outside := t.TempDir()
	for _, name := range []string{"data/examples/selector/main.go", "data/examples/selector/longest.go", "data/examples/selector/go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("=> ../../.."), []byte("=> "+top))
		if err := os.WriteFile(filepath.Join(outside, filepath.Base(name)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-mod=mod", "-o", "train", ".")
	build.Dir, build.Env = outside, append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile("own.yaml", []byte("selectors:\n  longest: {params: {at_least: 2}}\n  bad: {name: longest, params: {at_most: 2}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	train := func(component string) (string, error) {
		c := exec.Command(filepath.Join(outside, "train"), "-config", "data/examples/random.yaml", "components_cfg_file=own.yaml", "component_name="+component, "output_dir=out")
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := train("longest"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := train("bad"); err == nil || !strings.Contains(out, `own.yaml:3:33: unknown parameter "at_most" of component bad: the parameters are at_least`) {
		t.Errorf("%v\n%s", err, out)
	}
	text, err := os.ReadFile("out/selected_rows.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	last := 1e9
	for line := range strings.Lines(string(text)) {
		var row struct{ Labels float64 }
		if err := json.Unmarshal([]byte(line), &row); err != nil || row.Labels < 2 || row.Labels > last {
			t.Errorf("%v: %s after %v labels", err, line, last)
		}
		last = row.Labels
	}
}
