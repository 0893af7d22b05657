package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/report/page"
)

func TestReportCommand(t *testing.T) {
	const runs = "../../algo/report/page/testdata/runs/"
	out := filepath.Join(t.TempDir(), "page.html")
	for _, dirs := range [][]string{{runs + "select"}, {runs + "select", runs + "mix"}} {
		c := reportCommand()
		c.SetArgs(append(dirs, "--out", out))
		if err := c.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		html, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range dirs {
			if !strings.Contains(string(html), `"name":"`+filepath.Base(d)+`"`) {
				t.Errorf("%s is not in the page", d)
			}
		}
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(runs+"static")); err != nil {
		t.Fatal(err)
	}
	c := reportCommand()
	c.SetArgs([]string{dir})
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, page.Name)); err != nil {
		t.Error(err)
	}
	c = reportCommand()
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs([]string{t.TempDir()})
	if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "is not the output_dir of a run") {
		t.Errorf("a folder without a run: %v", err)
	}
}
