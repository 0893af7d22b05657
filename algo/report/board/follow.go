package board

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"time"

	"dataflex.dev/dataflex/algo/report/compare"
	"dataflex.dev/dataflex/algo/report/page"
)

var (
	//go:embed live.js
	liveJS string
	//go:embed form.js
	formJS string
	//go:embed live.css
	liveCSS string
)

// Limits of what one page shows and how long it waits.
const (
	mostTicked = 12
	ticked     = 4                // runs that are shown by default
	beat       = 15 * time.Second // after which an idle connection gets a sign of life
	patience   = 30 * time.Second // for a page that does not read what is sent
	atOnce     = time.Second / 4  // that a page waits for a run to be read
)

// live is the data for the page's script beside the report's document.
type live struct {
	Dir     string    `json:"dir"`
	Summary []Summary `json:"summary"`
	Notes   []string  `json:"notes,omitempty"`
}

// page is the report of the requested runs, with the script that follows them.
func (b *Board) page(w http.ResponseWriter, r *http.Request) error {
	summaries := b.summaries()
	_, asked := r.URL.Query()["run"]
	names := b.asked(r, summaries)
	if !asked {
		names = first(summaries)
	}
	runs := []*page.Run{}
	for _, name := range names {
		if l := b.load(r.Context(), name, atOnce); l != nil {
			runs = append(runs, l.run)
		} else {
			runs = append(runs, b.unread(name))
		}
	}
	b.mu.Lock()
	notes := b.runs.notes
	b.mu.Unlock()
	html, policy, err := page.RenderLive(runs, page.Live{Data: live{b.dir, summaries, notes}, Script: formJS + liveJS, Style: liveCSS})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Security-Policy", policy+"; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, err = w.Write(html)
	return err
}

// asked are the existing runs that a request names.
func (b *Board) asked(r *http.Request, summaries []Summary) (names []string) {
	for _, name := range r.URL.Query()["run"] {
		known := slices.ContainsFunc(summaries, func(s Summary) bool { return s.Name == name })
		if known && !slices.Contains(names, name) && len(names) < mostTicked {
			names = append(names, name)
		}
	}
	return names
}

// first are the runs shown by default: those in progress, or else the last of the list.
func first(summaries []Summary) (names []string) {
	for _, s := range summaries {
		if s.Running && len(names) < ticked {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 && len(summaries) > 0 {
		names = []string{summaries[len(summaries)-1].Name}
	}
	return names
}

// stream is one page that follows runs.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	at      time.Time // of the last thing sent

	summaries []Summary
	sent      map[string]map[string]int // versions of the parts of runs
	chosen    map[string]int            // selections of runs that the page already has
	compared  []*page.Run               // whose overlap the page already has
}

// events are server-sent events:
//
//	runs       the list of all runs, []Summary: state, step, loss, memory, time left
//	run        {"name", "set": changed fields of the report's run, "gone": removed ones, "whole": there are no others}
//	selection  {"run", "step", "rows", "distinct", "overlap", "new", "dropped"}: a new selection
//	overlaps   the similarity of the runs' choices
func (b *Board) events(w http.ResponseWriter, r *http.Request) error {
	select {
	case b.streams <- struct{}{}:
		defer func() { <-b.streams }()
	default:
		return refusal{http.StatusServiceUnavailable, "too many pages follow runs: close some"}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	s := &stream{w: w, control: http.NewResponseController(w), sent: map[string]map[string]int{}, chosen: map[string]int{}}
	tick := time.NewTicker(b.options.Every)
	defer tick.Stop()
	for {
		if b.sendChanges(r, s) != nil {
			return nil // the page was closed
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}

// sendChanges sends what has changed.
func (b *Board) sendChanges(r *http.Request, s *stream) error {
	summaries := b.summaries()
	if s.summaries == nil || !reflect.DeepEqual(summaries, s.summaries) {
		if err := s.send("runs", summaries); err != nil {
			return err
		}
		s.summaries = summaries
	}
	var runs []*page.Run
	for _, name := range b.asked(r, summaries) {
		l := b.load(r.Context(), name, 0)
		if l == nil {
			continue // its turn comes when it has been read
		}
		runs = append(runs, l.run)
		if err := s.run(name, l); err != nil {
			return err
		}
	}
	if err := s.overlaps(runs); err != nil {
		return err
	}
	if time.Since(s.at) > beat {
		return s.write(": the board is there\n\n")
	}
	return nil
}

// run sends the parts of a run that the page does not have yet, and each selection made since
// the last call.
func (s *stream) run(name string, l *loaded) error {
	have, known := s.sent[name]
	now, set, gone := map[string]int{}, map[string]json.RawMessage{}, []string{}
	for key, p := range l.parts {
		now[key] = p.version
		if have[key] != p.version {
			set[key] = json.RawMessage(p.raw)
		}
	}
	for key := range have {
		if _, ok := now[key]; !ok {
			gone = append(gone, key)
		}
	}
	s.sent[name] = now
	if len(set)+len(gone) > 0 {
		if err := s.send("run", map[string]any{"name": name, "whole": !known, "set": set, "gone": gone}); err != nil {
			return err
		}
	}
	var made []page.Selection
	if c := l.run.Choice; c != nil {
		made = c.Selections
	}
	if known {
		for _, x := range made[min(s.chosen[name], len(made)):] {
			says := map[string]any{"run": name, "step": x.Step, "rows": x.Rows, "distinct": x.Distinct, "overlap": x.Overlap, "new": x.New, "dropped": x.Dropped}
			if err := s.send("selection", says); err != nil {
				return err
			}
		}
	}
	s.chosen[name] = len(made)
	return nil
}

// overlaps sends the similarity of runs' choices, where one has changed.
func (s *stream) overlaps(runs []*page.Run) error {
	if slices.Equal(runs, s.compared) {
		return nil
	}
	s.compared = runs
	return s.send("overlaps", page.Overlaps(runs))
}

func (s *stream) send(event string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.write(fmt.Sprintf("event: %s\ndata: %s\n\n", event, raw))
}

func (s *stream) write(text string) error {
	s.at = time.Now()
	if err := s.control.SetWriteDeadline(s.at.Add(patience)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}

// compare is a table of the runs for a paper: the file is named by table and format, for
// example runs.md or overlap.csv.
func (b *Board) compare(w http.ResponseWriter, r *http.Request) error {
	names := b.asked(r, b.summaries())
	var runs []*page.Run
	var dirs []string
	for _, name := range names {
		l := b.load(r.Context(), name, math.MaxInt64)
		if l == nil {
			return context.Cause(r.Context())
		}
		runs, dirs = append(runs, l.run), append(dirs, b.path(name))
	}
	for _, f := range compare.Tables(runs, dirs) {
		if f.Name == r.URL.Query().Get("table") {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, err := w.Write(f.Content)
			return err
		}
	}
	return refusal{http.StatusNotFound, "there is no such table of these runs"}
}
