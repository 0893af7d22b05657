// Package report writes what a run leaves for people and scripts to read: LLaMA-Factory's
// files, with its field names and number formats, and what was selected and why.
package report

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// Log appends to trainer_log.jsonl, one JSON object a line, flushed as written.
type Log struct {
	path  string
	start time.Time
	prior time.Duration // spent before a resume
}

// selectionKey is a key that only the lines of selections have.
const selectionKey = "selection_runtime"

// LogName is the file's name in the output folder.
const LogName = "trainer_log.jsonl"

// OpenLog starts the log of a run; fresh removes what an earlier run left.
func OpenLog(dir string, fresh bool, prior time.Duration) (*Log, error) {
	l := &Log{path: filepath.Join(dir, LogName), start: time.Now(), prior: prior}
	if fresh {
		if err := storage.Remove(l.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("trainer_log.jsonl: %w", err)
		}
	}
	return l, nil
}

// Truncate drops the lines that a run resumed at a step will write again: those past the step,
// and of those at the step the ones that the checkpoint does not include: a selection, unless
// selected, and all but so many evaluations.
func (l *Log) Truncate(step int, selected bool, evaluations int) error {
	return keepLines(l.path, func(line pyjson.Object) bool {
		switch n := stepOf(line); {
		case n != step:
			return n < step
		case line.Get(selectionKey) != nil:
			return selected
		case line.Get("loss") != nil:
			return true
		}
		evaluations-- // or the last line of a finished run
		return evaluations >= 0
	})
}

// ReadLog returns the lines of a run's log, none where there is no log; a line truncated by a
// kill is left out.
func ReadLog(dir string) ([]pyjson.Object, error) {
	path := filepath.Join(dir, LogName)
	raw, err := storage.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // nothing has been logged yet
	}
	if err != nil {
		return nil, fmt.Errorf("trainer_log.jsonl: %w", err)
	}
	var out []pyjson.Object
	n := 0
	for line := range strings.Lines(string(raw)) {
		n++
		if !strings.HasSuffix(line, "\n") {
			break
		}
		o, err := pyjson.DecodeObject([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		out = append(out, o)
	}
	return out, nil
}

// Elapsed is the time spent on the run, including the parts before a resume.
func (l *Log) Elapsed() time.Duration { return l.prior + time.Since(l.start) }

// Event is one line. Absent values are nil.
type Event struct {
	Step, Total        int
	Loss, EvalLoss, LR any
	Epoch              float64
	Extra              pyjson.Object // written last
}

// Write appends a line with LLaMA-Factory's fields in its order, without absent ones.
func (l *Log) Write(e Event) error {
	f, err := storage.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("trainer_log.jsonl: %w", err)
	}
	_, err = io.WriteString(f, e.line(l.Elapsed()))
	return errors.Join(err, f.Close())
}

func (e Event) line(elapsed time.Duration) string {
	o := pyjson.Object{{Key: "current_steps", Value: e.Step}, {Key: "total_steps", Value: e.Total}}
	for _, f := range []pyjson.Field{{Key: "loss", Value: e.Loss}, {Key: "eval_loss", Value: e.EvalLoss}, {Key: "lr", Value: e.LR}} {
		if f.Value != nil {
			o = append(o, f)
		}
	}
	percentage, remaining := any(100), 0.0
	if e.Total != 0 {
		percentage = Round(float64(e.Step)/float64(e.Total)*100, 2)
	}
	if e.Step != 0 {
		remaining = float64(e.Total-e.Step) * (elapsed.Seconds() / float64(e.Step))
	}
	o = append(o,
		pyjson.Field{Key: "epoch", Value: e.Epoch},
		pyjson.Field{Key: "percentage", Value: percentage},
		pyjson.Field{Key: "elapsed_time", Value: Clock(elapsed.Seconds())},
		pyjson.Field{Key: "remaining_time", Value: Clock(remaining)})
	return pyjson.EncodeASCII(append(o, e.Extra...), 0) + "\n"
}

// Clock writes seconds as Python's str(timedelta(seconds=int(s))) does.
func Clock(seconds float64) string {
	const day = 86400
	s := int(seconds)
	days := s / day
	if s %= day; s < 0 {
		days, s = days-1, s+day
	}
	hms := fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	switch days {
	case 0:
		return hms
	case 1, -1:
		return fmt.Sprintf("%d day, %s", days, hms)
	}
	return fmt.Sprintf("%d days, %s", days, hms)
}
