package command

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// signals is the context that a program works under: it ends with the first of the
// signals that ask for an end, Ctrl-C, a scheduler's SIGTERM, a closed terminal's SIGHUP.
// A SIGHUP that was ignored when the program started, as nohup does, stays ignored; a
// SIGINT does not: shells ignore it for every command that a script starts with &. A write
// to a pipe whose reader has gone is an error of that write, not the program's end.
func signals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	asked := make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if s != syscall.SIGHUP || !signal.Ignored(s) {
			signal.Notify(asked, s)
		}
	}
	pipe := make(chan os.Signal, 1) // nobody reads it: that somebody wants the signal is enough
	signal.Notify(pipe, syscall.SIGPIPE)
	done := make(chan struct{})
	go func() { // ends with stop
		select {
		case s := <-asked:
			cancel(errors.New(s.String()))
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(asked)
		signal.Stop(pipe)
		close(done)
		cancel(nil)
	}
}
