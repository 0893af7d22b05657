// Package command is shared by the programs: start, interruption and end.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"

	"dataflex.dev/dataflex/algo/program"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/display"
	"dataflex.dev/dataflex/data/task"
)

// Version is set at build time.
var Version = "unknown"

// Exit codes: done, an error, interrupted.
const (
	ExitDone        = 0
	ExitError       = 1
	ExitInterrupted = 130
)

// ErrSaid ends a program with ExitError when the error has already been printed.
var ErrSaid = errors.New("the error was printed")

// Main runs a program and ends the process with its exit code. The context ends when
// the user or the system asks the program to stop: see signals.
func Main(main func(ctx context.Context) error) { os.Exit(Run(os.Stderr, main)) }

// Run is Main without ending the process. An error is one message on stderr, and so is a panic.
func Run(stderr io.Writer, main func(ctx context.Context) error) int {
	ctx, stop := signals(context.Background())
	defer stop()
	defer program.EndAll()
	defer func() {
		if s := screenOf(stderr); s != nil {
			s.clear()
		}
	}()
	return Exit(task.Catch(func() error { return main(ctx) }), stderr)
}

// Exit prints an error, if there is one, and returns its exit code.
func Exit(err error, stderr io.Writer) int {
	var fault *task.Panic
	switch {
	case err == nil, readerLeft(err):
		return ExitDone
	case errors.Is(err, ErrSaid) && errors.Is(err, train.ErrInterrupted):
		return ExitInterrupted
	case errors.Is(err, ErrSaid):
		return ExitError
	case errors.As(err, &fault):
		whose := ""
		if _, ours := fault.Value.(runtime.Error); ours || fault.Unwrap() == nil { // not the error of a device or a file
			whose = "internal error, please report it: "
		}
		say(stderr, "error: "+whose+err.Error()+trace(fault))
		return ExitError
	case errors.Is(err, train.ErrInterrupted):
		say(stderr, err.Error())
		return ExitInterrupted
	case errors.Is(err, context.Canceled):
		say(stderr, interrupted(err))
		return ExitInterrupted
	}
	say(stderr, "error: "+err.Error())
	return ExitError
}

// say prints the final message of a program.
func say(stderr io.Writer, text string) {
	if s := screenOf(stderr); s != nil {
		s.clear()
	}
	if format == jsonLog {
		Logger(stderr).Error(strings.TrimPrefix(text, "error: "))
		return
	}
	fmt.Fprintln(stderr, display.Text(text))
}

// interrupted describes what was going on when the user stopped it.
func interrupted(err error) string {
	doing := strings.TrimSuffix(strings.TrimSuffix(err.Error(), context.Canceled.Error()), ": ")
	if doing == "" || strings.HasPrefix(doing, "interrupted") {
		return "interrupted" + strings.TrimPrefix(doing, "interrupted")
	}
	return "interrupted: " + doing
}

// readerLeft reports an error of standard output whose reader has ended, as in `dataflex-cli
// show … | head`.
func readerLeft(err error) bool {
	var p *os.PathError
	return errors.As(err, &p) && p.Path == os.Stdout.Name() && errors.Is(p.Err, syscall.EPIPE)
}

// trace writes a panic's stack to a file, where possible, and returns its path.
func trace(p *task.Panic) string {
	f, err := os.CreateTemp("", "dataflex-panic-*.txt")
	if err != nil {
		return ""
	}
	_, err = fmt.Fprintf(f, "dataflex %s\n%v\n\n%s", Version, p, p.Stack)
	if errors.Join(err, f.Close()) != nil {
		return ""
	}
	return "; the stack trace is in " + f.Name()
}
