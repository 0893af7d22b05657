package board

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/report/page"
	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// life is whether a process works on a run, and otherwise from what it can be resumed.
type life struct {
	running  bool
	starting bool // nothing has been logged yet
	finished bool
	state    string // in words
	how      string // of a run that ended: in which way
	next     string // and from what it can be resumed
}

// on completes the report of a run.
func (l life) on(run *page.Run) {
	switch {
	case l.running:
		run.State += "; " + l.state
	case !l.finished:
		run.Ended(l.how, l.next)
	}
}

// life looks up who holds the run's lock. The caller holds mu.
func (b *Board) life(name string) life {
	dir := b.path(name)
	var l life
	owner, err := storage.LockOwner(filepath.Join(dir, storage.LockFile))
	if err == nil && owner.PID != 0 {
		switch {
		case owner.Running():
			l.running, l.state = true, fmt.Sprintf("running as process %d", owner.PID)
		case !owner.Here():
			l.running, l.state = true, fmt.Sprintf("last held by process %d on %s", owner.PID, owner.Host)
		}
	}
	job := b.jobOf(name, owner.PID)
	if job != nil && !l.running {
		l.running, l.state = true, fmt.Sprintf("process %d does not hold the folder's lock yet, or has released it", job.Process.PID)
	}
	l.starting = l.running && !storage.Exists(filepath.Join(dir, record.Name)) && !storage.Exists(filepath.Join(dir, report.LogName))
	if l.starting && job != nil {
		l.state = fmt.Sprintf("starting as process %d", job.Process.PID)
	}
	var kept struct {
		Finished bool `json:"finished"`
	}
	if raw, err := os.ReadFile(filepath.Join(dir, storage.RunFile)); err == nil && json.Unmarshal(raw, &kept) == nil {
		l.finished = kept.Finished
	}
	switch {
	case l.running:
	case l.finished:
		l.state = "finished"
	default:
		l.how, l.next = b.howEnded(name, owner.PID), newest(dir)
		l.state = l.how + "; " + l.next
	}
	return l
}

// howEnded is how a run that is not finished ended, as far as is known: for a run that was
// started elsewhere, or by an earlier board, it is not. left is the process that left its lock
// behind; 0 = none.
func (b *Board) howEnded(name string, left int) string {
	how := "ended"
	var seen time.Time // a start that was refused while another process was running ended before that process
	for _, j := range b.jobs {
		if j.Run == name && (left == 0 || left == j.Process.PID) && !j.Seen.Before(seen) && (j.Code == nil || *j.Code != 0) {
			if word := j.how(); word != "" {
				how, seen = word, j.Seen
			}
		}
	}
	return how
}

// newest names the checkpoint from which a run can be resumed: the one of the highest step.
// Checkpoints appear complete or not at all; their hashes are verified when a run is resumed.
func newest(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "there is no checkpoint"
	}
	best := -1
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), storage.StepPrefix)
		step, err := strconv.Atoi(digits)
		if ok && err == nil && step > best && e.IsDir() && storage.Exists(filepath.Join(dir, e.Name(), storage.ManifestFile)) {
			best = step
		}
	}
	if best < 0 {
		return "there is no checkpoint"
	}
	return "the newest checkpoint is " + storage.StepName(best)
}

// Summary is a run in the board's list.
type Summary struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Running  bool   `json:"running"`
	Finished bool   `json:"finished"`
	progress
	Job   string `json:"job,omitempty"`   // of a run that a board started: its log exists
	Stops bool   `json:"stops,omitempty"` // the board can stop it
	Said  string `json:"said,omitempty"`  // the last lines printed by a start that failed
}

// progress is the progress of a run.
type progress struct {
	Step     int      `json:"step"`
	Of       int      `json:"of"`
	Loss     *float64 `json:"loss,omitempty"`
	EvalLoss *float64 `json:"eval_loss,omitempty"`
	Left     string   `json:"left,omitempty"`   // h:mm:ss, of a run in progress
	Memory   uint64   `json:"memory,omitempty"` // the most memory that its process held, in bytes
}

// reached is the progress recorded in a run's files, as of their stamp.
type reached struct {
	progress
	stamp string
	done  bool // it is finished
}

// summaries are all runs, including those that were started and have written nothing yet.
func (b *Board) summaries() []Summary {
	names := b.names()
	b.mu.Lock()
	defer b.mu.Unlock()
	known := map[string]bool{}
	out := make([]Summary, 0, len(names))
	add := func(name string) {
		known[name] = true
		s := Summary{Name: name}
		if err := b.caught("summing up the run "+name, func() error { s = b.summary(name); return nil }); err != nil {
			s.State = "it cannot be shown: " + err.Error()
		}
		out = append(out, s)
	}
	for _, name := range names {
		add(name)
	}
	for _, j := range b.jobs {
		if !known[j.Run] {
			add(j.Run)
		}
	}
	return out
}

func (b *Board) summary(name string) Summary {
	s := Summary{Name: name}
	if err := b.checkInside(name); err != nil {
		s.State = err.Error()
		return s
	}
	l := b.life(name)
	s.Running, s.Finished, s.State = l.running, l.finished, l.state
	was, stamp := b.runs.progress[name], b.stamp(name)
	if was.stamp != stamp {
		was = progressOf(b.path(name))
		was.stamp = stamp
		b.runs.progress[name] = was
	}
	s.progress = was.progress
	if !s.Running {
		s.Left = ""
		if was.done && !s.Finished { // an earlier version's run, which records it only there
			s.Finished, s.State = true, "finished"
		}
	}
	for _, j := range b.jobs {
		if j.Run != name {
			continue
		}
		if running := j.running(); running || !s.Stops {
			s.Job, s.Stops = j.ID, running
		}
		s.Said = j.said()
	}
	if _, held := b.holder(name); held {
		s.Stops = true
	}
	return s
}

// ends is how much of the end of a file is read for its last lines.
const ends = 256 << 10

// progressOf reads a run's progress from the ends of its logs.
func progressOf(dir string) (p reached) {
	for line := range lastLines(filepath.Join(dir, report.LogName)) {
		o, err := pyjson.DecodeObject(line)
		if err != nil {
			continue
		}
		p.Step, _ = o.Get("current_steps").(int)
		p.Of, _ = o.Get("total_steps").(int)
		p.Left, _ = o.Get("remaining_time").(string)
		if v, ok := o.Get("loss").(float64); ok {
			p.Loss = &v
		}
		if v, ok := o.Get("eval_loss").(float64); ok {
			p.EvalLoss = &v
		}
	}
	for line := range lastLines(filepath.Join(dir, record.Name)) {
		var l record.Line
		if bytes.HasPrefix(line, []byte(`{"step":`)) && json.Unmarshal(line, &l) == nil && l.Step != nil {
			p.Memory, p.done = l.Step.Peak, l.Step.Done
		}
	}
	return p
}

// lastLines are the complete lines at the end of a file, none where the file is missing.
func lastLines(path string) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		f, err := os.Open(path)
		if err != nil {
			return
		}
		defer f.Close()
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return
		}
		from := max(0, size-ends)
		raw, err := io.ReadAll(io.NewSectionReader(f, from, size-from))
		if err != nil {
			return
		}
		if from > 0 {
			_, raw, _ = bytes.Cut(raw, []byte("\n"))
		}
		for line := range bytes.Lines(raw) {
			if bytes.HasSuffix(line, []byte("\n")) && !yield(line) {
				return
			}
		}
	}
}
