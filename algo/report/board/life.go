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

// life is whether a process works on a run, and what there is to go on from otherwise.
type life struct {
	running  bool
	starting bool // nothing is logged yet
	finished bool
	state    string // in words
	how      string // of a run that ended: how
	next     string // and what there is to go on from
}

// on completes what the report says of a run.
func (l life) on(run *page.Run) {
	switch {
	case l.running:
		run.State += "; " + l.state
	case !l.finished:
		run.Ended(l.how, l.next)
	}
}

// life looks who holds the run's lock. The caller holds mu.
func (b *Board) life(name string) life {
	dir := b.path(name)
	var l life
	owner, err := storage.LockOwner(filepath.Join(dir, storage.LockFile))
	if err == nil && owner.PID != 0 {
		switch {
		case owner.Running():
			l.running, l.state = true, fmt.Sprintf("running as process %d", owner.PID)
		case !owner.Here():
			l.running, l.state = true, fmt.Sprintf("process %d on %s held it last", owner.PID, owner.Host)
		}
	}
	job := b.jobOf(name)
	if job != nil && !l.running {
		l.running, l.state = true, fmt.Sprintf("process %d has not taken the folder yet, or has left it", job.Process.PID)
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

// howEnded is how a run that is not finished ended, as far as is known: of one that was
// started elsewhere, or by an earlier board, it is not. left is the process that has left
// its lock behind; 0 = none has.
func (b *Board) howEnded(name string, left int) string {
	how := "ended"
	var seen time.Time // a start that was refused while another process went on ended before that
	for _, j := range b.jobs {
		if j.Run == name && (left == 0 || left == j.Process.PID) && !j.Seen.Before(seen) && (j.Code == nil || *j.Code != 0) {
			if word := j.how(); word != "" {
				how, seen = word, j.Seen
			}
		}
	}
	return how
}

// newest names the checkpoint that a run can go on from. It is the one of the highest
// step: checkpoints are whole or not there; their hashes are checked by whoever goes on.
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
	Job   string `json:"job,omitempty"`   // of a run that the board can stop, or whose log there is
	Stops bool   `json:"stops,omitempty"` // the board can stop it
	Said  string `json:"said,omitempty"`  // the last words of a start that failed
}

// progress is how far a run is.
type progress struct {
	Step     int      `json:"step"`
	Of       int      `json:"of"`
	Loss     *float64 `json:"loss,omitempty"`
	EvalLoss *float64 `json:"eval_loss,omitempty"`
	Left     string   `json:"left,omitempty"`   // h:mm:ss, of a run that goes on
	Memory   uint64   `json:"memory,omitempty"` // the most that its process held, bytes
}

// reached is what a run's files say of its progress, as they were when their stamp was taken.
type reached struct {
	progress
	stamp string
	done  bool // it came to its end
}

// summaries are all runs, those that were started and have left nothing yet among them.
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
	if err := b.stays(name); err != nil {
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
		if was.done && !s.Finished { // an earlier version's, which says it there alone
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
	return s
}

// ends is how much of a file's end is read for its last lines.
const ends = 256 << 10

// progressOf reads how far a run is from the ends of its logs.
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

// lastLines are whole lines of the end of a file, none where there is no file.
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
