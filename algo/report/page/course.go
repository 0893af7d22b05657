package page

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo/report/record"
)

// Memory is the memory that a run planned and used.
type Memory struct {
	Words   string        `json:"words"`
	Verdict string        `json:"verdict"` // fits, tight, too much
	Parts   []record.Part `json:"parts"`
	Planned uint64        `json:"planned"`
	Have    uint64        `json:"have"` // of the device; 0 = unknown
	Peak    uint64        `json:"peak"` // of the process; 0 = unknown
}

// Time is how a run's time was spent.
type Time struct {
	Words  string  `json:"words"`
	Phases []Phase `json:"phases"`
}

// Phase is a kind of work and its seconds.
type Phase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Memory  uint64  `json:"memory,omitempty"` // the most memory that the process held at the end of such a phase; 0 = unknown
}

// tight is the share of the device's memory above which a plan leaves little room.
const tight = 0.85

// addCourse describes the run's progress, memory and time.
func (r *Run) addCourse() {
	var last *record.Step
	for _, l := range r.lines {
		if l.Step != nil {
			last = l.Step
		}
	}
	if r.facts == nil {
		r.State = "its progress is unknown"
		return
	}
	r.addMemory(last)
	if last != nil {
		r.Steps, r.Dealt = last.Step, last.Dealt
	}
	switch {
	case last == nil:
		r.State = fmt.Sprintf("no step of %d logged yet", r.facts.Steps)
		return
	case last.Done && last.Step >= r.facts.Steps:
		r.State = fmt.Sprintf("finished: %d steps", last.Step)
	case last.Done:
		r.State = fmt.Sprintf("finished early, at step %d of %d", last.Step, r.facts.Steps)
	default:
		r.State = fmt.Sprintf("at step %d of %d", last.Step, r.facts.Steps)
	}
	r.addTime(last)
}

func (r *Run) addMemory(last *record.Step) {
	m := &Memory{Have: r.facts.Have, Parts: []record.Part{}}
	for _, p := range r.facts.Memory {
		if p.Bytes > 0 {
			m.Parts = append(m.Parts, p)
		}
		m.Planned += p.Bytes
	}
	if last != nil {
		m.Peak = last.Peak
	}
	m.Words = fmt.Sprintf("%s planned", size(m.Planned))
	if m.Have > 0 {
		share := float64(m.Planned) / float64(m.Have)
		m.Verdict = "fits"
		switch {
		case share > 1:
			m.Verdict = "too much"
		case share >= tight:
			m.Verdict = "tight"
		}
		m.Words = fmt.Sprintf("%s: %s planned of the device's %s (%s)", m.Verdict, size(m.Planned), size(m.Have), percent(share))
	}
	if m.Peak > 0 {
		m.Words += fmt.Sprintf("; the process peaked at %s", size(m.Peak))
	}
	r.Memory = m
}

func (r *Run) addTime(last *record.Step) {
	t := &Time{Phases: []Phase{{"set-up", r.facts.SetUp, 0}, {"training", last.Training(), last.Memory["training"]}}}
	for _, name := range slices.Sorted(maps.Keys(last.Phases)) {
		t.Phases = append(t.Phases, Phase{name, last.Phases[name], last.Memory[name]})
	}
	t.Words = fmt.Sprintf("%s for %d steps", span(last.Seconds), last.Step)
	if left := r.facts.Steps - last.Step; left > 0 && !last.Done && last.Step > 0 {
		t.Words = fmt.Sprintf("about %s left: %d of %d steps took %s", span(last.Seconds/float64(last.Step)*float64(left)), last.Step, r.facts.Steps, span(last.Seconds))
	}
	r.Time = t
}

// Ended reports, instead of the remaining time of an unfinished run, that no process works on
// it any more: how it ended, and from which checkpoint it can be resumed.
func (r *Run) Ended(how, next string) {
	var last *record.Step
	for _, l := range r.lines {
		if l.Step != nil {
			last = l.Step
		}
	}
	if last != nil && last.Done {
		return
	}
	r.State = fmt.Sprintf("%s, %s; %s", how, r.State, next)
	if last != nil && r.Time != nil {
		r.Time.Words = fmt.Sprintf("%s for %d of %d steps", span(last.Seconds), last.Step, r.facts.Steps)
	}
}

// size formats bytes with a binary prefix.
func size(n uint64) string {
	f, prefixes := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for f >= 1024 && len(prefixes) > 1 {
		f, prefixes = f/1024, prefixes[1:]
	}
	if prefixes[0] == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, prefixes[0])
}

func percent(share float64) string {
	if p := 100 * share; p >= 0.1 || p == 0 {
		return fmt.Sprintf("%.1f %%", p)
	}
	return "under 0.1 %"
}

// span formats seconds for people.
func span(seconds float64) string {
	s := int(math.Round(seconds))
	switch {
	case seconds < 10:
		return fmt.Sprintf("%.1f s", seconds)
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 48*3600:
		return fmt.Sprintf("%d h %d min", s/3600, s/60%60)
	}
	return fmt.Sprintf("%d days %d h", s/86400, s/3600%24)
}
