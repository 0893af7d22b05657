// Package architecture holds the rules of the house as tests: who may import whom, that
// every package says what it is, where goroutines start, what assembly may contain.
package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dataflex.dev/dataflex/kernels/simd/words"
)

// floor is one of the top-level folders.
type floor struct {
	name   string
	below  []string // floors it may import besides itself
	reason string
}

// floors from the ground up. Tests may reach further: they bring cases from above.
var floors = []floor{
	{"third_party", nil, "other people's interfaces: they know nothing of us"},
	{"data", nil, "rows, tokens and files are of use without a model, and are tested without one"},
	{"driver", []string{"third_party"}, "devices and memory know no mathematics; only third_party talks to a vendor's library"},
	{"kernels", []string{"driver"}, "a kernel is arithmetic on device memory; it knows no layers, no files"},
	{"model", []string{"kernels", "driver"}, "layers are made of kernels; which rows they see, and in which order, is the business of algo"},
	{"algo", []string{"model", "kernels", "driver", "data"}, "the one place where rows meet the model"},
	{"tools", []string{"algo", "model", "kernels", "driver", "data", "third_party"}, "commands put everything together; nothing imports them"},
}

// relaxed are the edges that a floor may have beyond those, each with its reason.
var relaxed = []struct{ from, to, reason string }{
	{"model", "data/storage", "checkpoints and caches are the same kind of folder: whole or not there, locked, synced. storage imports nothing of ours"},
	{"model", "data/pyjson", "checkpoints carry JSON as Python writes it, byte for byte. pyjson imports nothing of ours"},
	{"model", "data/gguf", "a GGUF file holds a model and its tokenizer: both floors read it. gguf imports data/storage alone"},
	{"model", "data/tokenizer/regex", "adapter_config.json names modules by Python's expressions, whose lookaround package regexp has not. regex imports nothing of ours"},
	{"model", "data/task", "goroutines have one owner on every floor that starts them. task imports data/storage alone, to name the file of a fault"},
}

// alone are packages that import nothing of ours, so that the edges above bring nothing
// else along.
var alone = map[string]string{
	"data/storage": "imported by model",
	"data/pyjson":  "imported by model",

	"data/tokenizer/regex": "imported by model",
}

// owners are the files that start goroutines themselves; all others ask data/task, which
// hands a panic up to whoever waits.
var owners = map[string]string{
	"data/task/task.go":              "the owner",
	"data/storage/lock.go":           "renews a lease; imports nothing of ours; ends with the lock",
	"driver/cpu/pool.go":             "the worker threads; hands panics up itself, for kernels may not import data",
	"driver/mpi/open.go":             "the one thread that calls MPI; ends with Close",
	"driver/sim/launch.go":           "blocks of a grid; the interpreter's faults are errors, and it hands panics up itself",
	"driver/store/server.go":         "a connection each of a small server; drivers may not import data; they end with Close",
	"kernels/gradproj/trak_ptx.go":   "the source's signs on the host, waited for in place; hands panics up itself, for kernels may not import data",
	"tools/command/signals.go":       "waits for signals; ends with stop",
	"tools/dataflex-cli/tokenize.go": "feeds a reader; ends with it",
	"tools/proof/main.go":            "one experiment each",
}

// source is one Go file, without its tests' files.
type source struct {
	path, pkg string // from the top of the repository
	file      *ast.File
}

func sources(t *testing.T) (all []source, fset *token.FileSet) {
	t.Helper()
	t.Chdir("../..")
	fset = token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin"):
			return fs.SkipDir
		case d.IsDir() && path != "." && exists(filepath.Join(path, "go.mod")): // a module of its own
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(path), filepath.ToSlash(filepath.Dir(path)), f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Fatalf("only %d Go files", len(all))
	}
	return all, fset
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// module is the path that go.mod gives the module.
func module(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^module (\S+)$`).FindStringSubmatch(string(text))[1]
}

// imports are the packages of ours that s imports.
func (s source) imports(module string) (ours []string) {
	for _, i := range s.file.Imports {
		if path, err := strconv.Unquote(i.Path.Value); err == nil && strings.HasPrefix(path, module+"/") {
			ours = append(ours, strings.TrimPrefix(path, module+"/"))
		}
	}
	return ours
}

// allowed reports whether a package may import another, and if not, the rule.
func allowed(from, to string) (rule string, ok bool) {
	up, _, _ := strings.Cut(from, "/")
	down, _, _ := strings.Cut(to, "/")
	if reason, isolated := alone[from]; isolated {
		return from + " imports nothing of ours: " + reason, false
	}
	at := slices.IndexFunc(floors, func(f floor) bool { return f.name == up })
	if at < 0 {
		return up + " is no floor: the top-level folders are fixed", false
	}
	if up == down || slices.Contains(floors[at].below, down) {
		return "", true
	}
	for _, r := range relaxed {
		if r.from == up && r.to == to {
			return "", true
		}
	}
	return up + " imports " + strings.Join(append([]string{up}, floors[at].below...), ", ") + ": " + floors[at].reason, false
}

func TestImports(t *testing.T) {
	all, _ := sources(t)
	name := module(t)
	used := map[string]bool{}
	for _, s := range all {
		if s.test() {
			continue
		}
		for _, to := range s.imports(name) {
			if rule, ok := allowed(s.pkg, to); !ok {
				t.Errorf("%s imports %s; but %s", s.path, to, rule)
			}
			used[to] = true
		}
	}
	for _, r := range relaxed {
		if !used[r.to] {
			t.Errorf("nobody needs the edge from %s to %s any more", r.from, r.to)
		}
	}
}

// TestOneFlagLibrary: programs read their flags with pflag. Go's own are those of `go test` and
// of avo, which the generators of assembly are built on.
func TestOneFlagLibrary(t *testing.T) {
	all, _ := sources(t)
	for _, s := range all {
		if s.test() || filepath.Base(s.pkg) == "asm" || s.path == "kernels/optest/launched.go" {
			continue
		}
		for _, i := range s.file.Imports {
			if i.Path.Value == `"flag"` {
				t.Errorf("%s imports flag: use github.com/spf13/pflag", s.path)
			}
		}
	}
}

// TestRules: the rules refuse what they are there to refuse.
func TestRules(t *testing.T) {
	for _, e := range [][2]string{
		{"kernels/gemm", "model/tensor"},
		{"driver", "kernels/ptx"},
		{"data/cache", "algo/config"},
		{"data/dataset", "model/checkpoint"},
		{"model/decoder", "data/dataset"},
		{"model/decoder", "algo/batch"},
		{"algo/train", "tools/command"},
		{"data/storage", "data/pyjson"},
		{"third_party/cuda", "driver"},
		{"internal/x", "driver"},
		{"kernels/gemm", "data/storage"},
	} {
		if rule, ok := allowed(e[0], e[1]); ok || rule == "" {
			t.Errorf("%s may import %s (%q)", e[0], e[1], rule)
		}
	}
	for _, e := range [][2]string{{"model/checkpoint", "data/storage"}, {"algo/train", "data/cache"}, {"tools/kbench", "kernels/gemm"}, {"driver/cuda", "third_party/cuda"}} {
		if rule, ok := allowed(e[0], e[1]); !ok {
			t.Errorf("%s may not import %s: %s", e[0], e[1], rule)
		}
	}
}

// TestDocs: every package has a doc comment, in one of its files.
func TestDocs(t *testing.T) {
	all, _ := sources(t)
	said := map[string]bool{}
	for _, s := range all {
		text := s.file.Doc.Text()
		if !s.test() || !said[s.pkg] {
			said[s.pkg] = said[s.pkg] || strings.HasPrefix(text, "Package ") || strings.HasPrefix(text, "Command ")
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(said)) {
		if !said[pkg] {
			t.Errorf("%s: no file says what the package is", pkg)
		}
	}
}

// TestGoroutines: outside the owners nothing starts a goroutine by itself: there is no go
// statement, and a method Go is called in packages that use data/task alone.
func TestGoroutines(t *testing.T) {
	all, fset := sources(t)
	name := module(t)
	groups := map[string]bool{} // packages that use data/task
	for _, s := range all {
		groups[s.pkg] = groups[s.pkg] || !s.test() && slices.Contains(s.imports(name), "data/task")
	}
	starts := map[string]bool{}
	for _, s := range all {
		if s.test() {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			start := false
			switch n := n.(type) {
			case *ast.GoStmt:
				start = true
			case *ast.CallExpr:
				f, ok := n.Fun.(*ast.SelectorExpr)
				start = ok && f.Sel.Name == "Go" && (!groups[s.pkg] || owners[s.path] != "")
			}
			if !start {
				return true
			}
			starts[s.path] = true
			if owners[s.path] == "" {
				t.Errorf("%s starts a goroutine: ask data/task for one, which hands its panic up", fset.Position(n.Pos()))
			}
			return true
		})
	}
	for path := range owners {
		if !starts[path] {
			t.Errorf("%s starts no goroutine any more: take it off the list", path)
		}
	}
}

// unnamed are the instructions that Go's assembler has no name for, by the bytes that stand
// for them: kernels/simd/words lists them with their texts, which kernels/simd/asmtest can
// run.
var unnamed = words.Texts()

// TestAssembly: no assembly file has bytes in the place of an instruction, but for the
// words of the table.
func TestAssembly(t *testing.T) {
	raw := regexp.MustCompile(`(?m)^\s*(?:BYTE|WORD|LONG|QUAD)\b.*$`)
	t.Chdir("../..")
	n := 0
	for _, top := range floors {
		err := filepath.WalkDir(top.name, func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".s" {
				return err
			}
			n++
			text, err := os.ReadFile(path)
			for _, line := range raw.FindAllString(string(text), -1) {
				if unnamed[strings.TrimSpace(line)] == "" {
					t.Errorf("%s: %q is no instruction of the table", path, strings.TrimSpace(line))
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 {
		t.Error("no assembly at all")
	}
	if !raw.MatchString("\tBYTE $0x62; BYTE $0xf1\n") {
		t.Error("bytes are not seen")
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
