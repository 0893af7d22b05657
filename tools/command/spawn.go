package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"dataflex.dev/dataflex/algo/program"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver/launch"
)

// grace is how long ranks have for a checkpoint once they are asked to end.
const grace = 5 * time.Minute

// start starts this machine's ranks of this very command and waits for them. The first that
// fails ends the others; a request to stop goes to all of them.
func start(ctx context.Context, s launch.Spawn) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if s.Addr == "" {
		s.Addr = "127.0.0.1"
	}
	if s.Port == 0 {
		if s.Port, err = freePort(); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all task.Group
	var mu sync.Mutex
	var first error
	for i := range s.Ranks {
		c := exec.CommandContext(ctx, exe, os.Args[1:]...)
		c.Env = s.Environment(i, s.Addr, s.Port)
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
		c.WaitDelay = grace
		program.EndWithParent(c)
		rank := s.Node*s.Ranks + i
		if err := c.Start(); err != nil {
			stop(err)
			first = fmt.Errorf("rank %d: %w", rank, err)
			break
		}
		all.Go(func() {
			err := ended(rank, c.Wait())
			if err == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if first == nil || !errors.Is(first, ErrSaid) && errors.Is(err, ErrSaid) {
				first = err
			}
			stop(err)
		})
	}
	all.Wait()
	return first
}

// ended is how a rank ended, which has printed why unless it was killed.
func ended(rank int, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil || !errors.As(err, &exit):
		return err
	case exit.ExitCode() == ExitInterrupted:
		return errOfRank{train.ErrInterrupted}
	case exit.ExitCode() >= 0:
		return errOfRank{err}
	}
	host, _ := os.Hostname()
	return fmt.Errorf("rank %d on %s (process %d) was ended from outside: %w", rank, host, exit.Pid(), err)
}

// freePort is a port that nobody listens at.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
