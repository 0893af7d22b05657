package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/tools/recipe"
)

var update = flag.Bool("update", false, "write docs again")

// generated are the pages that commands also print.
func generated(t *testing.T) map[string]string {
	t.Helper()
	var keys, components bytes.Buffer
	if err := writeSchema(&keys); err != nil {
		t.Fatal(err)
	}
	if err := writeComponentSchema(&components); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"environment.md": environmentPage(), "dataflex.schema.json": keys.String(), "components.schema.json": components.String()}
}

// TestDocs: the pages in data/examples are up to date.
func TestDocs(t *testing.T) {
	for name, text := range generated(t) {
		path := filepath.Join("../../data/examples", name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s is not what the program says (%v): go test ./tools/dataflex-cli -run TestDocs -update writes it", path, err)
		}
	}
}

// TestVariables: the page of the environment has every variable that the sources read
// by name, the tests' and tools' own apart.
func TestVariables(t *testing.T) {
	ours := map[string]bool{"CGO_CFLAGS": true, "PTXAS": true} // builds and checks of this repository
	read := regexp.MustCompile(`os\.(?:Getenv|LookupEnv)\("([A-Za-z_]+)"\)`)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range read.FindAllStringSubmatch(string(text), -1) {
			if !ours[m[1]] && !slices.ContainsFunc(variables, func(v variable) bool { return v.name == m[1] }) {
				t.Errorf("%s reads %s, which data/examples/environment.md does not name", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestHelpMethod: help explains methods, commands, and names that are both.
func TestHelpMethod(t *testing.T) {
	for name, want := range map[string][]string{
		"less":   {"# less", "| `proj_dim` | integer | `8192`, upstream `4096` |"},
		"near":   {"--neighbours", "# near"},
		"export": {"Usage:"},
	} {
		var out bytes.Buffer
		err := help(newRoot(), []string{name}, &out)
		for _, w := range want {
			if err != nil || !strings.Contains(out.String(), w) {
				t.Errorf("%s: %v, no %q in\n%s", name, err, w, out.String())
			}
		}
	}
	if err := help(newRoot(), []string{"lees"}, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "did you mean less?") {
		t.Error(err)
	}
}

// TestComponentSchema: every parameter of every method is in the schema of its component, which
// allows no others.
func TestComponentSchema(t *testing.T) {
	var b bytes.Buffer
	if err := writeComponentSchema(&b); err != nil {
		t.Fatal(err)
	}
	type params struct {
		Properties           map[string]*params `json:"properties"`
		AdditionalProperties *bool              `json:"additionalProperties"`
		Items                *params            `json:"items"`
	}
	var s struct {
		Defs map[string]json.RawMessage `json:"$defs"`
	}
	if err := json.Unmarshal(b.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	for _, m := range recipe.Methods() {
		var p params
		if err := json.Unmarshal(s.Defs[m.Kind.Bucket()+"."+m.Name], &p); err != nil {
			t.Fatal(err)
		}
		for _, want := range m.Params {
			in := &p
			for part := range strings.SplitSeq(want.Name, ".") {
				if in.AdditionalProperties == nil || *in.AdditionalProperties || in.Properties[part] == nil {
					t.Fatalf("%s: no %s", m.Name, want.Name)
				}
				if in = in.Properties[part]; in.Items != nil {
					in = in.Items
				}
			}
		}
	}
}
