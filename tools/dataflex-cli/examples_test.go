package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/tools/command"
	"dataflex.dev/dataflex/tools/recipe"
)

// clone makes the folder in which examples are run: data and the demo's model as in a checkout.
func clone(t *testing.T) {
	t.Helper()
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("DATAFLEX_CACHE", t.TempDir())
	t.Chdir(dir)
	for _, folder := range []string{"data", "tools/dataflex-demo/model"} {
		err := filepath.WalkDir(filepath.Join(top, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) == ".go" {
				return err
			}
			rel, err := filepath.Rel(top, path)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
				return err
			}
			return os.Symlink(path, rel)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// few limits a training command to two steps, one of them with a decision.
func few(args []string) []string {
	if args[0] != "train" {
		return args
	}
	return append(args, "max_steps=2", "warmup_step=1", "update_step=1", "update_times=1")
}

// typed runs a command line of a recipe.
func typed(t *testing.T, line, program string) {
	t.Helper()
	args := strings.Fields(line)
	if args[0] == "cat" {
		for _, f := range args[1:] {
			if _, err := os.Stat(f); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		return
	}
	if args[0] != program {
		t.Fatalf("%q does not begin with %s", line, program)
	}
	if code, stderr := capture(t, few(args[1:])); code != 0 {
		t.Errorf("%s: exit code %d\n%s", line, code, stderr)
	}
}

// TestExamples runs every file of data/examples, as its first lines say, for two steps.
func TestExamples(t *testing.T) {
	clone(t)
	for _, r := range recipe.All() {
		s := recipe.Example(r)
		for _, line := range r.Commands(s) {
			if strings.HasSuffix(line, ".npy --neighbours 50") || strings.Contains(line, " tsds ") {
				line = strings.Replace(line, "data/examples/", "made/", 1)
			}
			typed(t, line, s.Program)
		}
		if !r.Trains() {
			continue
		}
		if _, err := os.Stat(filepath.Join(s.Saves, r.Name, "all_results.json")); err != nil {
			t.Errorf("%s left no results: %v", r.Name, err)
		}
		if r.Kind == recipe.Select {
			if _, err := os.Stat(filepath.Join(s.Saves, r.Name, "selected_rows.jsonl")); err != nil {
				t.Errorf("%s: %v", r.Name, err)
			}
		}
	}
	sameVectors(t, "made/near.npy", "data/examples/near.npy")
	sameVectors(t, "made/tsds.npy", "data/examples/tsds.npy")
}

// TestEveryMethod: there is a recipe for every method that is registered.
func TestEveryMethod(t *testing.T) {
	for kind, names := range map[recipe.Kind][]string{recipe.Select: algo.Selectors(), recipe.Mix: algo.Mixers(), recipe.Weight: algo.Weighters()} {
		for _, name := range names {
			if !slices.ContainsFunc(recipe.All(), func(r recipe.Recipe) bool { return r.Kind == kind && r.Component == name }) {
				t.Errorf("%s has no recipe for %s: tools/recipe/table.go", kind, name)
			}
		}
	}
}

// sameVectors: the committed file equals the output of the commands on this machine.
func sameVectors(t *testing.T, got, want string) {
	t.Helper()
	a, err := npy.Read(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := npy.Read(want)
	if err != nil {
		t.Fatal(err)
	}
	x, y := a.Float64s(), b.Float64s()
	off := 0
	for i := range x {
		if math.Abs(x[i]-y[i]) > 1e-6 {
			off++
		}
	}
	// Ties may be broken differently on another instruction set.
	if !slices.Equal(a.Shape, b.Shape) || off > len(x)/100 {
		t.Errorf("%s: %d of %d numbers are others than in %s", got, off, len(x), want)
	}
}

// TestExampleLESS: the example of LESS chooses what its text says: sums, far more than their
// share.
func TestExampleLESS(t *testing.T) {
	clone(t)
	if code, stderr := capture(t, []string{"train", "data/examples/less.yaml", "update_times=1"}); code != 0 {
		t.Fatal(stderr)
	}
	kind := []string{}
	for _, line := range lines(t, "data/tasks.jsonl") {
		var row struct{ Kind string }
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		kind = append(kind, row.Kind)
	}
	sums, all := 0, 0
	for _, line := range lines(t, "saves/examples/less/selected_rows.jsonl") {
		var pick struct{ Row int }
		if err := json.Unmarshal([]byte(line), &pick); err != nil {
			t.Fatal(err)
		}
		all++
		if kind[pick.Row] == "add" {
			sums++
		}
	}
	if all != 32 || sums < 24 { // chance is 5 of 32
		t.Errorf("%d sums among %d rows", sums, all)
	}
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// capture runs the program with its standard error in a file.
func capture(t *testing.T, args []string) (code int, stderr string) {
	t.Helper()
	return captured(t, &os.Stderr, args)
}

func captured(t *testing.T, stream **os.File, args []string) (code int, text string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	saved := *stream
	*stream = f
	code = command.Run(f, func(ctx context.Context) error { return run(ctx, args) })
	*stream = saved
	f.Close()
	out, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, string(out)
}
