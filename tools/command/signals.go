package command

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// signals is the context of a program: it ends at the first signal that asks the program to
// end: Ctrl-C, a scheduler's SIGTERM, a closed terminal's SIGHUP. A SIGHUP that was ignored
// when the program started, as by nohup, stays ignored; a SIGINT does not: shells ignore it for
// every command that a script starts with &. Writing to a pipe whose reader has ended is an
// error of that write and does not end the program.
func signals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	asked := make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if s != syscall.SIGHUP || !signal.Ignored(s) {
			signal.Notify(asked, s)
		}
	}
	pipe := make(chan os.Signal, 1) // nobody reads it: registering it is enough
	signal.Notify(pipe, syscall.SIGPIPE)
	done := make(chan struct{})
	go func() { // ended by stop
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
