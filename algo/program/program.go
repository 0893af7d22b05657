// Package program asks a user's program: one JSON line to its standard input, one
// JSON line from its standard output, as often as is asked.
//
// The program may answer line after line, or answer one and end: it is then started
// again for the next. What it writes on standard error is logged. A program that is
// late, fails or answers something else is an error that quotes what it said. An
// answer must follow from its request alone: a resumed run starts a new program.
package program

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Program is a command that answers. It is used by one goroutine at a time.
type Program struct {
	command []string
	timeout time.Duration // for one answer
	log     *slog.Logger
	running *process
}

// New describes a program; it is started when it is first asked. command is the
// program and its arguments.
func New(command []string, timeout time.Duration, log *slog.Logger) *Program {
	return &Program{command: command, timeout: timeout, log: log}
}

// process is one started command.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	output [2]io.Closer // our ends of standard output and error
	lines  chan []byte  // of standard output; closed at its end
	done   chan struct{}
	err    error // of Wait, after done
	stderr said
}

// said keeps the end of what a program wrote on standard error.
type said struct {
	mu   sync.Mutex
	tail string
}

func (s *said) add(line string) {
	const most = 400
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail += line + "\n"
	if over := len(s.tail) - most; over > 0 {
		s.tail = s.tail[over:]
	}
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(s.tail)
}

// Ask sends request as one JSON line and reads one into answer.
func (p *Program) Ask(ctx context.Context, request, answer any) error {
	line, err := json.Marshal(request)
	if err == nil {
		err = p.ask(ctx, append(line, '\n'), answer)
	}
	if err != nil {
		p.Close()
		return fmt.Errorf("program %s: %w", p.command[0], err)
	}
	return nil
}

func (p *Program) ask(ctx context.Context, line []byte, answer any) error {
	for {
		fresh := p.running == nil
		if fresh {
			var err error
			if p.running, err = p.start(); err != nil {
				return err
			}
		}
		got, err := p.running.exchange(ctx, line, p.timeout)
		switch {
		case errors.Is(err, errEnded) && !fresh && p.running.err == nil:
			p.Close() // it answers one line and ends: start it again
			continue
		case err != nil:
			return fmt.Errorf("%w%s", err, p.running.said())
		}
		if err := json.Unmarshal(got, answer); err != nil {
			return fmt.Errorf("its answer is not the JSON line expected: %w; got %q%s", err, short(string(got)), p.running.said())
		}
		return nil
	}
}

// errEnded is a program that has ended where an answer was expected.
var errEnded = errors.New("it ended without an answer")

// exchange writes a line and waits for one.
func (r *process) exchange(ctx context.Context, line []byte, timeout time.Duration) ([]byte, error) {
	select {
	case extra, ok := <-r.lines:
		if ok {
			return nil, fmt.Errorf("it wrote a line that nobody asked for: %q", short(string(extra)))
		}
	default:
	}
	go func() {
		// A program that reads nothing shows in its answer, or in its absence.
		_, _ = r.stdin.Write(line)
	}()
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
		return nil, fmt.Errorf("no answer within %s (raise `timeout`)", timeout)
	case got, ok := <-r.lines:
		if ok {
			return got, nil
		}
		<-r.done
		if r.err != nil {
			return nil, fmt.Errorf("%w: %w", errEnded, r.err)
		}
		return nil, errEnded
	}
}

func (p *Program) start() (*process, error) {
	cmd := exec.Command(p.command[0], p.command[1:]...)
	r := &process{cmd: cmd, lines: make(chan []byte), done: make(chan struct{})}
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	stderr, err3 := cmd.StderrPipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	r.stdin, r.output = stdin, [2]io.Closer{stdout, stderr}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var readers sync.WaitGroup
	readers.Go(func() {
		for s := newScanner(stderr); s.Scan(); {
			r.stderr.add(s.Text())
			p.log.Info(s.Text(), "program", p.command[0])
		}
	})
	readers.Go(func() {
		defer close(r.lines)
		for s := newScanner(stdout); s.Scan(); {
			select {
			case r.lines <- append([]byte(nil), s.Bytes()...):
			case <-r.done:
				return
			}
		}
	})
	go func() {
		readers.Wait()
		r.err = cmd.Wait()
		close(r.done)
	}()
	return r, nil
}

// newScanner reads lines of up to 1 GiB: a line holds a number per row.
func newScanner(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<30)
	return s
}

func (r *process) said() string {
	if s := r.stderr.String(); s != "" {
		return fmt.Sprintf("; it said: %q", s)
	}
	return ""
}

func short(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// Close ends the program, if it runs: its input ends, and if that is not enough it
// is killed.
func (p *Program) Close() {
	r := p.running
	if r == nil {
		return
	}
	p.running = nil
	const patience = time.Second
	r.stdin.Close()
	go func() {
		for range r.lines { // nobody asks for these
		}
	}()
	select {
	case <-r.done:
	case <-time.After(patience):
		_ = r.cmd.Process.Kill() // it may just have ended
		for _, end := range r.output {
			end.Close() // a child of the program may hold the other end
		}
		<-r.done
	}
}
