// Package watch runs programs that may hang, as whoever asks a GPU for the first time must
// expect: one that writes nothing for too long is ended, and so is one that a deadline meets.
package watch

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"dataflex.dev/dataflex/algo/program"
)

// Limits are how long a program may take.
type Limits struct {
	First    time.Duration // until it writes for the first time: loading and compiling, too
	Silence  time.Duration // between two writes after that
	Deadline time.Time     // in all; zero = none
}

// drain is how long a program's output is read after its end, where its children hold it open.
const drain = 2 * time.Second

// Run runs c, whose output, stdout and stderr together, goes to w as well, and returns it.
// why is how its limits ended it: OutOfTime, or how long it was silent; "" where it ended by
// itself, with err for its status.
func Run(c *exec.Cmd, l Limits, w io.Writer) (text, why string, err error) {
	p := &patience{limits: l, w: w}
	c.Stdout, c.Stderr = p, p
	c.WaitDelay = drain
	program.EndWithParent(c) // it may watch programs itself
	if err := c.Start(); err != nil {
		return "", "", err
	}
	p.begin(c.Process)
	err = c.Wait()
	why = p.end()
	return p.text.String(), why, err
}

// OutOfTime is why a program was ended that did nothing wrong.
const OutOfTime = "the time was up"

// LastLine is how a program ended, and the last it wrote.
func LastLine(text string, end error) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSuffix(fmt.Sprintf("%v: %s", end, lines[len(lines)-1]), ": ")
}

// patience passes a program's output on, and ends the program if none comes for too long.
type patience struct {
	limits Limits
	w      io.Writer
	text   strings.Builder

	mu      sync.Mutex
	process *os.Process
	timer   *time.Timer
	why     string
}

func (p *patience) begin(process *os.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = process
	p.wait(p.limits.First)
}

// wait sets the time of the next write, which is the deadline's at most.
func (p *patience) wait(limit time.Duration) {
	if p.timer != nil {
		p.timer.Stop()
	}
	why := fmt.Sprintf("no end after %v", limit)
	if d := p.limits.Deadline; !d.IsZero() && time.Until(d) < limit {
		limit, why = time.Until(d), OutOfTime
	}
	p.timer = time.AfterFunc(limit, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.process != nil {
			p.why = why
			p.process.Kill()
		}
	})
}

// Write is called by the program's output.
func (p *patience) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Write(b)
	if p.process != nil && p.why == "" {
		p.wait(p.limits.Silence)
	}
	return p.w.Write(b)
}

func (p *patience) end() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = nil
	p.timer.Stop()
	return p.why
}
