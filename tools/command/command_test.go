package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"dataflex.dev/dataflex/algo/train"
)

// TestRun: however a program ends, it has one of three exit codes and prints at most one line,
// which names a checkpoint only if one was saved.
func TestRun(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	left := &os.PathError{Op: "write", Path: os.Stdout.Name(), Err: syscall.EPIPE}
	full := &os.PathError{Op: "write", Path: os.Stdout.Name(), Err: syscall.ENOSPC}
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{fmt.Errorf("the plan: %w", left), 0, ""}, // `… --dry-run | head`
		{full, 1, "error: write /dev/stdout: no space left on device\n"},
		{ErrSaid, 1, ""},
		{errors.New("bad"), 1, "error: bad\n"},
		{context.Canceled, 130, "interrupted\n"},
		{fmt.Errorf("scoring: %w", context.Canceled), 130, "interrupted: scoring\n"},
		{fmt.Errorf("interrupted before the first step, nothing is saved: %w", context.Canceled), 130, "interrupted before the first step, nothing is saved\n"},
		{train.ErrInterrupted, 130, train.ErrInterrupted.Error() + "\n"},
		{fmt.Errorf("interrupted at step 3, and the checkpoint could not be saved: %w", full), 1, "error: interrupted at step 3, and the checkpoint could not be saved: write /dev/stdout: no space left on device\n"},
	} {
		var stderr bytes.Buffer
		if code := Run(&stderr, func(context.Context) error { return c.err }); code != c.code || stderr.String() != c.want {
			t.Errorf("%v: exit code %d, %q; wanted %d, %q", c.err, code, stderr.String(), c.code, c.want)
		}
	}
}

// TestPanic: a panic is one line that names the file of its stack trace.
func TestPanic(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var stderr bytes.Buffer
	code := Run(&stderr, func(context.Context) error { return fmt.Errorf("step 3: %w", plant()) })
	if code != 1 || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), "planted (tools/command/command_test.go:") {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	_, file, _ := strings.Cut(stderr.String(), "the stack trace is in ")
	text, err := os.ReadFile(strings.TrimSpace(file))
	if err != nil || !strings.Contains(string(text), "command.plant") {
		t.Errorf("the trace: %v\n%s", err, text)
	}
}

func plant() error { panic("planted") }
