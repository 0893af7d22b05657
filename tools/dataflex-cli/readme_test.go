package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/tools/command"
)

// Patterns of what a reader can type or open.
var readmes = []string{"README.md", "data/examples/README.md", "data/examples/models.md", "data/examples/differences.md", "data/examples/methods/*.md"}

// TestReadme: every command in a README exists, with its flags, files and make targets; every
// link has a target.
func TestReadme(t *testing.T) {
	t.Chdir("../..")
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var pages []string
	for _, pattern := range readmes {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d pages, %v", pattern, len(found), err)
		}
		pages = append(pages, found...)
	}
	for _, name := range pages {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		commands := commandsOf(string(text))
		if len(commands) < 1 {
			t.Errorf("%s: %d commands", name, len(commands))
		}
		for _, c := range commands {
			for _, fault := range faultsOf(c, string(makefile)) {
				t.Errorf("%s: %s: %s", name, strings.Join(c, " "), fault)
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: link: %v", name, err)
			}
		}
	}
}

// commandsOf finds the commands in the indented blocks and between backquotes.
func commandsOf(text string) (out [][]string) {
	var candidates []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "    ") {
			code, _, _ := strings.Cut(line, "#")
			candidates = append(candidates, code)
		}
	}
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(text, -1) {
		candidates = append(candidates, m[1])
	}
	for _, c := range candidates {
		for part := range strings.SplitSeq(c, "&&") {
			words := strings.Fields(part)
			if len(words) > 0 && (words[0] == "make" || strings.HasPrefix(filepath.Base(words[0]), "dataflex-")) {
				out = append(out, words)
			}
		}
	}
	return out
}

func faultsOf(words []string, makefile string) (faults []string) {
	program := filepath.Base(words[0])
	if program == "make" {
		for _, target := range words[1:] {
			if !strings.Contains(target, "=") && !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(target)+`:`).MatchString(makefile) {
				faults = append(faults, "there is no target "+target)
			}
		}
		return faults
	}
	if _, err := os.Stat("tools/" + program); err != nil {
		return []string{err.Error()}
	}
	for _, w := range words[1:] {
		if strings.HasSuffix(w, ".yaml") {
			if _, err := os.Stat(w); err != nil {
				faults = append(faults, err.Error())
			}
		}
	}
	if program != "dataflex-cli" || len(words) == 1 {
		return faults
	}
	root := newRoot()
	args, err := command.Arguments(root, words[1:])
	if err != nil {
		return append(faults, err.Error())
	}
	c, rest, err := root.Find(args)
	if err != nil || c.Name() != words[1] {
		return append(faults, "there is no such command")
	}
	if err := c.ParseFlags(rest); err != nil {
		return append(faults, err.Error())
	}
	return faults
}

// TestReadmeRuns runs the commands in README's blocks unchanged, in a fresh clone.
func TestReadmeRuns(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	clone(t)
	for name, from := range map[string]string{"rows.jsonl": "data/everyday.jsonl", "wanted.jsonl": "data/everyday_eval.jsonl"} {
		if err := os.Symlink(from, name); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "    ") {
			continue
		}
		for _, words := range commandsOf(line) {
			args := words[1:]
			switch filepath.Base(words[0]) {
			case "dataflex-train":
				args = append([]string{"train"}, args...)
			case "make":
				continue
			}
			if code, stderr := capture(t, args); code != 0 {
				t.Errorf("%s: exit code %d\n%s", strings.Join(words, " "), code, stderr)
			}
			ran++
		}
	}
	if ran < 4 {
		t.Errorf("%d commands", ran)
	}
}

// TestReadmeDiffers: what README says of the differences is on their page, word for word.
func TestReadmeDiffers(t *testing.T) {
	t.Chdir("../..")
	var pages [2]string
	for i, name := range []string{"README.md", "data/examples/differences.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pages[i] = strings.ReplaceAll(string(text), "](data/examples/", "](")
	}
	_, table, _ := strings.Cut(pages[0], "## Where we differ\n")
	rows := 0
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| ") {
			rows++
			if !strings.Contains(pages[1], line) {
				t.Errorf("only README has this row: %s", line)
			}
		}
	}
	if rows < 10 {
		t.Errorf("%d rows", rows)
	}
}

// TestReadmeFaults: the test above detects faults.
func TestReadmeFaults(t *testing.T) {
	t.Chdir("../..")
	text := "    make nothing && ./bin/dataflex-train -config none.yaml   # x\n`dataflex-cli trian x` `dataflex-cli show --lines 3`\n    ./bin/dataflex-nothing\n"
	var got []string
	for _, c := range commandsOf(text) {
		got = append(got, faultsOf(c, "all:\n")...)
	}
	want := []string{"no target nothing", "none.yaml", "dataflex-nothing", `there is no command "trian"`, "--lines"}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want[i]) }) {
			t.Errorf("%q lacks %q", got, want[i])
		}
	}
}
