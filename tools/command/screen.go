package command

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// screen is a terminal with one line of progress below the log lines. It is a writer: log lines
// are written above the progress, and none is lost.
type screen struct {
	mu     sync.Mutex
	out    io.Writer
	width  func() int
	status string // as shown; "" = none
	pass   bool   // the progress of a pass, which ends with the next log line
	shown  time.Time
}

// screens has the screen of standard error, once it was requested.
var screens struct {
	sync.Mutex
	stderr *screen
}

// screenOf is the screen of w if w is standard error on a terminal, else nil.
func screenOf(w io.Writer) *screen {
	if w != io.Writer(os.Stderr) || format != textLog || !Terminal(w) {
		return nil
	}
	screens.Lock()
	defer screens.Unlock()
	if screens.stderr == nil {
		screens.stderr = newScreen(os.Stderr)
	}
	return screens.stderr
}

// newScreen is the screen of a terminal.
func newScreen(f *os.File) *screen {
	return &screen{out: f, width: func() int {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
		return 80
	}}
}

const clearLine = "\r\x1b[K"

// Write writes whole lines above the progress.
func (s *screen) Write(lines []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == "" {
		return s.out.Write(lines)
	}
	var b bytes.Buffer
	b.WriteString(clearLine)
	b.Write(lines)
	if s.pass {
		s.status = ""
	}
	b.WriteString(s.status)
	if _, err := s.out.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// redrawEvery is the minimum time between redraws of the progress.
const redrawEvery = 100 * time.Millisecond

// show replaces the progress, of training or of a pass; now forces a redraw.
func (s *screen) show(status string, pass, now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !now && time.Since(s.shown) < redrawEvery {
		return
	}
	if r := []rune(status); len(r) >= s.width() {
		status = string(r[:max(0, s.width()-1)])
	}
	s.status, s.pass, s.shown = status, pass, time.Now()
	_, _ = io.WriteString(s.out, clearLine+status) // a terminal that was closed shows nothing
}

// clear removes the progress.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != "" {
		s.status = ""
		_, _ = io.WriteString(s.out, clearLine)
	}
}

// bar is the progress of training on a screen. It implements train.Progress.
type bar struct {
	screen  *screen
	started time.Time
	first   int // steps done before: a resumed run has some
	tokens  int // likewise
}

// Step shows the number of optimizer steps done, of total, and of tokens trained on.
func (b *bar) Step(done, total int, loss float64, tokens int) {
	if b.started.IsZero() { // the duration of the first step is not known
		b.started, b.first, b.tokens = time.Now(), done, tokens
	}
	text := fmt.Sprintf("step %d/%d  %.0f %%  loss %.4f", done, total, 100*float64(done)/float64(max(total, 1)), loss)
	if since := time.Since(b.started).Seconds(); done > b.first && since > 0 {
		left := time.Duration(since / float64(done-b.first) * float64(total-done) * float64(time.Second))
		text += fmt.Sprintf("  %.0f tokens/s  %s left", float64(tokens-b.tokens)/since, short(left))
	}
	b.screen.show(text, false, done == total)
}

// Close removes the progress.
func (b *bar) Close() { b.screen.clear() }

// short is a duration in its two largest units.
func short(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d.Round(time.Second)/time.Second)
}
