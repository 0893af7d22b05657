package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Log appends to trainer_log.jsonl, one JSON object a line, flushed as written.
type Log struct {
	path  string
	start time.Time
	prior time.Duration // spent before a resume
}

// LogName is the file's name in the output folder.
const LogName = "trainer_log.jsonl"

// OpenLog starts the log of a run; fresh removes what an earlier run left.
func OpenLog(dir string, fresh bool, prior time.Duration) (*Log, error) {
	l := &Log{path: filepath.Join(dir, LogName), start: time.Now(), prior: prior}
	if fresh {
		if err := os.Remove(l.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("trainer_log.jsonl: %w", err)
		}
	}
	return l, nil
}

// Truncate drops the lines past a step: what a resumed run will write again.
func (l *Log) Truncate(step int) error {
	return keepLines(l.path, func(line string) bool { return currentSteps(line) <= step })
}

// Elapsed is the time spent on the run, earlier parts included.
func (l *Log) Elapsed() time.Duration { return l.prior + time.Since(l.start) }

// Event is one line. Absent values are nil.
type Event struct {
	Step, Total        int
	Loss, EvalLoss, LR any
	Epoch              float64
	Extra              Object // written between lr and epoch's neighbours: after percentage
}

// Write appends a line with LLaMA-Factory's fields in its order, absent ones
// dropped.
func (l *Log) Write(e Event) error {
	elapsed := l.Elapsed()
	o := Object{{"current_steps", e.Step}, {"total_steps", e.Total}}
	for _, f := range []Field{{"loss", e.Loss}, {"eval_loss", e.EvalLoss}, {"lr", e.LR}} {
		if f.Value != nil {
			o = append(o, f)
		}
	}
	remaining := time.Duration(0)
	if e.Step > 0 {
		remaining = time.Duration(float64(e.Total-e.Step) * float64(elapsed) / float64(e.Step))
	}
	o = append(o,
		Field{"epoch", e.Epoch},
		Field{"percentage", Round(100*float64(e.Step)/float64(max(e.Total, 1)), 2)},
		Field{"elapsed_time", Clock(elapsed)},
		Field{"remaining_time", Clock(remaining)})
	o = append(o, e.Extra...)
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("trainer_log.jsonl: %w", err)
	}
	_, err = f.WriteString(Encode(o, 0) + "\n")
	return errors.Join(err, f.Close())
}

// Clock writes a duration as Python's str(timedelta) does, whole seconds.
func Clock(d time.Duration) string {
	s := int(d.Seconds())
	days, s := s/86400, s%86400
	hms := fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	switch {
	case days == 1:
		return "1 day, " + hms
	case days > 1:
		return fmt.Sprintf("%d days, %s", days, hms)
	}
	return hms
}
