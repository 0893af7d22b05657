package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/tools/command"
)

// TestRun: the ways of naming a configuration, and errors on the command line, end with the
// exit codes that scripts rely on and one message on stderr.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(file, []byte("stage: sft\nlearning_rat: 1.0e-4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"one dash":    {[]string{"-config", file}, 1, []string{"error:", "bad.yaml:2:1", "learning_rat", "learning_rate"}},
		"two dashes":  {[]string{"--config", file}, 1, []string{"bad.yaml:2:1"}},
		"bare":        {[]string{file, "seed=1"}, 1, []string{"bad.yaml:2:1"}},
		"nothing":     {nil, 1, []string{"no configuration: dataflex-train CONFIG [key=value ...]"}},
		"keys":        {[]string{"--learning_rate", "1", "--stage", "x"}, 1, []string{"override 'stage=x'", "pt, sft"}},
		"no file":     {[]string{"-config", filepath.Join(dir, "none.yaml")}, 1, []string{"none.yaml"}},
		"no flag":     {[]string{"-confg", file}, 1, []string{"unknown option -confg: did you mean --config?"}},
		"help":        {[]string{"--help"}, 0, nil},
		"short help":  {[]string{"-h"}, 0, nil},
		"the version": {[]string{"-version"}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			code, stderr := capture(t, c.args)
			if code != c.code {
				t.Errorf("exit code %d, wanted %d", code, c.code)
			}
			for _, part := range c.want {
				if !strings.Contains(stderr, part) {
					t.Errorf("stderr does not say %q:\n%s", part, stderr)
				}
			}
			if strings.Contains(stderr, "goroutine") {
				t.Errorf("a Go stack trace:\n%s", stderr)
			}
		})
	}
}

// capture runs the program with its standard error in a pipe.
func capture(t *testing.T, args []string) (code int, stderr string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	saved := os.Stderr
	os.Stderr = w
	code = command.Run(os.Stderr, func(ctx context.Context) error { return run(ctx, args) })
	os.Stderr = saved
	w.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return code, string(out)
}
