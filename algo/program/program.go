// Package program calls a user's program: one JSON line to its standard input, one JSON line
// from its standard output, for each request.
//
// The program may answer line after line, or answer once and exit: it is then started again for
// the next request. Its standard error is logged. A program that is late, fails or sends an
// invalid answer is an error that quotes its output. An answer must depend only on its request:
// a resumed run starts a new program.
//
// A program and everything it starts is one process group, which is ended after its answer,
// timeout or the context's end: whatever it does with its pipes cannot block the run. The size
// of its output is limited.
package program

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync/atomic"
	"time"
)

// Program is a command that answers requests. It is used by one goroutine at a time.
type Program struct {
	command []string
	timeout time.Duration // for each answer
	log     *slog.Logger
	running *conversation
}

// New describes a program; it is started at the first request. command is the program and its
// arguments.
func New(command []string, timeout time.Duration, log *slog.Logger) *Program {
	return &Program{command: command, timeout: timeout, log: log}
}

// Find returns an error where the program does not exist or is not executable.
func Find(command []string) error {
	if _, err := exec.LookPath(command[0]); err != nil {
		return fmt.Errorf("the program cannot be run: %w", err)
	}
	return nil
}

// conversation is a running command that answers line by line.
type conversation struct {
	*process
	lines chan answer   // of standard output; closed at its end
	most  atomic.Int64  // maximum number of bytes of a line
	wrote chan struct{} // closed when the newest request has been written
}

// answer is a line, or the reason why there is none.
type answer struct {
	line []byte
	err  error
}

// Ask sends request as one JSON line and reads one into answer.
func (p *Program) Ask(ctx context.Context, request, answer any) error {
	line, err := json.Marshal(request)
	if err == nil {
		err = p.ask(ctx, append(line, '\n'), answer)
	}
	if err != nil {
		return fmt.Errorf("program %s: %w", p.command[0], err)
	}
	return nil
}

func (p *Program) ask(ctx context.Context, line []byte, answer any) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		fresh := p.running == nil
		if fresh {
			var err error
			if p.running, err = p.start(); err != nil {
				return err
			}
		}
		c := p.running
		got, err := c.exchange(ctx, line, p.timeout)
		if errors.Is(err, errEnded) && !fresh && c.succeeded() {
			p.Close() // it answers once and exits: start it again
			continue
		}
		if err == nil {
			got = bytes.TrimPrefix(got, []byte("\xef\xbb\xbf")) // .NET and PowerShell begin their output with a byte order mark
			if err = json.Unmarshal(got, answer); err == nil {
				return nil
			}
			err = fmt.Errorf("its answer is not the JSON line expected: %w; got %q", err, short(string(got)))
		}
		p.Close()
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fmt.Errorf("%w%s", err, c.quoted())
	}
}

// errEnded means that the program exited where an answer was expected.
var errEnded = errors.New("it ended without an answer")

// answerRoom is the number of bytes that an answer may have beyond 4 for every byte of its
// request: a request names rows, an answer has numbers for rows.
const answerRoom = 16 << 20

// exchange writes a line and waits for the answer.
func (c *conversation) exchange(ctx context.Context, line []byte, timeout time.Duration) ([]byte, error) {
	select {
	case extra, ok := <-c.lines:
		if ok {
			return nil, fmt.Errorf("it wrote a line without a request: %q", short(string(extra.line)))
		}
	default:
	}
	c.most.Store(int64(answerRoom + 4*len(line)))
	c.shown.Store(0)
	before, wrote := c.wrote, make(chan struct{})
	c.wrote = wrote
	c.tasks.Go(func() {
		defer close(wrote)
		<-before // of a program that answered without reading
		// A program that does not read is noticed by its answer, or by its absence.
		_, _ = c.stdin.Write(line)
	})
	late := time.NewTimer(timeout)
	defer late.Stop()
	var grace <-chan time.Time
	exited, lines := c.exited, c.lines
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late.C:
			return nil, fmt.Errorf("no answer within %s (raise `timeout`; an answer counts once its line has ended and is flushed)", timeout)
		case got, ok := <-lines:
			if ok {
				return got.line, got.err
			}
			lines = nil
			if exited == nil {
				return nil, c.ended()
			}
			grace = time.After(patience)
		case <-exited:
			exited = nil
			if lines == nil {
				return nil, c.ended()
			}
			grace = time.After(patience)
		case <-grace:
			if exited != nil {
				return nil, errors.New("it closed its standard output without an answer and is still running")
			}
			return nil, fmt.Errorf("%w; a program that it started keeps its output open", c.ended())
		}
	}
}

// ended describes how an exited process ended.
func (c *conversation) ended() error {
	if c.err != nil {
		return fmt.Errorf("%w: %w", errEnded, c.err)
	}
	return errEnded
}

// succeeded reports whether the process has exited with status 0.
func (c *conversation) succeeded() bool {
	select {
	case <-c.exited:
		return c.err == nil
	default:
		return false
	}
}

func (p *Program) start() (*conversation, error) {
	r, err := start(p.command, func(line string) { p.log.Info(line, "program", p.command[0]) })
	if err != nil {
		return nil, err
	}
	c := &conversation{process: r, lines: make(chan answer), wrote: make(chan struct{})}
	close(c.wrote)
	c.most.Store(answerRoom)
	c.tasks.Go(func() {
		defer close(c.lines)
		out := bufio.NewReader(r.stdout)
		for {
			line, err := nextLine(out, c.most.Load)
			if err != nil && !errors.Is(err, errTooLong) {
				return
			}
			select {
			case c.lines <- answer{line, err}:
			case <-r.closing:
				return
			}
			if err != nil {
				return
			}
		}
	})
	return c, nil
}

func short(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// Close ends the program, if it is running: its input is closed, and if that is not enough, it
// is killed with all processes it started.
func (p *Program) Close() {
	if r := p.running; r != nil {
		p.running = nil
		r.end()
	}
}
