// Package progress logs how far a pass over rows is: now and then in an ordinary log, and
// several times a second where it is watched, as on a terminal.
package progress

import (
	"context"
	"log/slog"
	"math"
	"time"
)

// Shown is the level of the frequent messages: only a log that overwrites them in place, as on
// a terminal, takes it.
const Shown = slog.LevelInfo - 1

// Keys of the messages; Total and Remaining are left out where the total is not known.
const (
	Rows      = "rows"
	Total     = "of"
	Rate      = "rows_per_second"
	Remaining = "remaining"
)

const (
	logEvery  = 10 * time.Second
	showEvery = 200 * time.Millisecond
)

// Meter measures one pass. It serves one goroutine at a time.
type Meter struct {
	log           *slog.Logger
	what          string
	done, total   int
	before        int // of done, when the pass began
	start         time.Time
	logged, shown time.Time
}

// New starts a pass over total rows, 0 where their number is not known. log may be nil.
func New(log *slog.Logger, what string, total int) *Meter {
	now := time.Now()
	return &Meter{log: log, what: what, total: total, start: now, logged: now, shown: now}
}

// Skip counts rows that an earlier run has done.
func (m *Meter) Skip(n int) { m.done, m.before = m.done+n, m.before+n }

// Add counts rows that are done.
func (m *Meter) Add(n int) {
	m.done += n
	if m.log == nil || m.done == m.before {
		return
	}
	now := time.Now()
	level := Shown
	switch {
	case now.Sub(m.logged) >= logEvery:
		level, m.logged = slog.LevelInfo, now
	case now.Sub(m.shown) < showEvery:
		return
	}
	m.shown = now
	if !m.log.Enabled(context.Background(), level) {
		return
	}
	rate := float64(m.done-m.before) / now.Sub(m.start).Seconds()
	args := []any{Rows, m.done}
	if m.total > 0 {
		args = append(args, Total, m.total)
	}
	args = append(args, Rate, math.Round(rate*100)/100)
	if m.total > 0 {
		args = append(args, Remaining, time.Duration(float64(m.total-m.done)/rate*float64(time.Second)).Round(time.Second))
	}
	m.log.Log(context.Background(), level, m.what, args...)
}
