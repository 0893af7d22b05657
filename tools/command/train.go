// Package command is what the programs share: how a training command starts, is
// interrupted, and ends.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"dataflex.dev/dataflex/algo/config"
	_ "dataflex.dev/dataflex/algo/mixer"    // the methods of dynamic_mix
	_ "dataflex.dev/dataflex/algo/selector" // of dynamic_select
	"dataflex.dev/dataflex/algo/train"
	_ "dataflex.dev/dataflex/algo/weighter" // of dynamic_weight
)

// Version is set when the program is built.
var Version = "unknown"

// Exit codes: done, an error in what was asked, interrupted after saving.
const (
	ExitDone        = 0
	ExitError       = 1
	ExitInterrupted = 130
)

// Train runs a training command to its end and returns its exit code. An error is
// one message on stderr.
func Train(file string, overrides []string, o train.Options, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Exit(trainConfig(ctx, file, overrides, o, stderr), stderr)
}

func trainConfig(ctx context.Context, file string, overrides []string, o train.Options, stderr io.Writer) error {
	c, err := config.Load(file, overrides)
	if err != nil {
		return err
	}
	if o.Progress == nil && Terminal(stderr) {
		bar := newBar(stderr)
		o.Progress, stderr = bar, bar.lines()
	}
	o.Log = Logger(stderr)
	return train.Run(ctx, c, o)
}

// Exit prints an error, if there is one, and gives its exit code.
func Exit(err error, stderr io.Writer) int {
	switch {
	case err == nil:
		return ExitDone
	case errors.Is(err, train.ErrInterrupted):
		fmt.Fprintln(stderr, err)
		return ExitInterrupted
	}
	fmt.Fprintf(stderr, "error: %v\n", err)
	return ExitError
}

// Logger writes plain lines, in colour on a terminal.
func Logger(w io.Writer) *slog.Logger {
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: slog.LevelInfo, TimeFormat: "15:04:05", NoColor: !Terminal(w)}))
}

// Terminal reports whether w is one.
func Terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
