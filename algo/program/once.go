package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Once runs a command to its end and returns its standard output. input is its standard input;
// say, if not nil, receives the lines of its standard error. A command that fails is an error
// that quotes its standard error; one that is not done after timeout or writes more than most
// bytes is killed. Its output until then is returned, too.
func Once(ctx context.Context, command []string, input []byte, timeout time.Duration, most int, say func(line string)) ([]byte, error) {
	r, err := start(command, say)
	if err != nil {
		return nil, err
	}
	r.tasks.Go(func() {
		_, _ = r.stdin.Write(input) // a program need not read all of it
		_ = r.stdin.Close()
	})
	var out []byte
	read := make(chan struct{})
	r.tasks.Go(func() {
		defer close(read)
		out, _ = io.ReadAll(io.LimitReader(r.stdout, int64(most)+1)) // ends with the pipe, or with r.end
	})
	err = r.finish(ctx, read, timeout, func() error {
		if len(out) > most {
			return fmt.Errorf("it wrote more than %d bytes", most)
		}
		return nil
	})
	r.end()
	if err != nil && !errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w%s", err, r.quoted())
	}
	return out, err
}

// finish waits until the command has exited and its output has been read; check returns what is
// wrong with the output.
func (r *process) finish(ctx context.Context, read <-chan struct{}, timeout time.Duration, check func() error) error {
	late := time.NewTimer(timeout)
	defer late.Stop()
	var grace <-chan time.Time
	for exited := r.exited; exited != nil || read != nil; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return fmt.Errorf("no answer within %s", timeout)
		case <-grace:
			read = nil // a program that it started keeps its output open: use what there is
		case <-read:
			read = nil
			if err := check(); err != nil {
				return err
			}
		case <-exited:
			exited = nil
			grace = time.After(patience)
		}
	}
	return r.err
}
