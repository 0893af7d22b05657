// Package record writes report_data.jsonl: what the report page needs to know about a run that
// is in no other file. A run appends lines as it goes, so that a page can be made at any time;
// a resumed run first drops the lines of the steps it will repeat.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/storage"
)

// Name is the file's name in the output folder.
const Name = "report_data.jsonl"

// Line is one line of the file; one of the pointers is set.
type Line struct {
	Run       *Run       `json:"run,omitempty"`
	Step      *Step      `json:"step,omitempty"`
	Selection *Selection `json:"selection,omitempty"`
	Mixture   *Mixture   `json:"mixture,omitempty"`
	Weights   *Weights   `json:"weights,omitempty"`
}

// at is the step of a line; the run's own line has the step at which it started.
func (l Line) at() int {
	switch {
	case l.Step != nil:
		return l.Step.Step
	case l.Selection != nil:
		return l.Selection.Step
	case l.Mixture != nil:
		return l.Mixture.Step
	case l.Weights != nil:
		return l.Weights.Step
	case l.Run != nil:
		return l.Run.From
	}
	return 0
}

// opensWindow reports whether a line is about a decision. A decision is made after the
// checkpoint of the same step, and is therefore repeated by a run resumed from it.
func (l Line) opensWindow() bool {
	return l.Selection != nil || l.Mixture != nil && l.Mixture.Shares != nil
}

// Run is what is known when training starts or is resumed.
type Run struct {
	Started     time.Time         `json:"started"`
	From        int               `json:"from"` // the step at which it starts
	Version     string            `json:"version,omitempty"`
	TrainType   string            `json:"train_type"`
	Component   string            `json:"component,omitempty"`
	Mode        string            `json:"mode,omitempty"`
	Params      string            `json:"params,omitempty"`
	Model       string            `json:"model"`
	Device      string            `json:"device"`
	Precision   string            `json:"precision"`
	Config      [][2]string       `json:"config"` // keys and values as given
	Steps       int               `json:"steps"`  // planned
	Batch       int               `json:"batch"`  // rows of a step
	Trainable   int               `json:"trainable"`
	SetUp       float64           `json:"set_up"` // seconds from program start to the first step
	Memory      []Part            `json:"memory"` // planned, on the device
	Have        uint64            `json:"have"`   // bytes of the device's memory; 0 = unknown
	Pool        Pool              `json:"pool"`
	DatasetDir  string            `json:"dataset_dir"`
	DatasetInfo json.RawMessage   `json:"dataset_info,omitempty"`
	Stamps      map[string]string `json:"stamps,omitempty"` // of the data files: sizes and times, by path
}

// Part is a named number of bytes.
type Part struct {
	Name  string `json:"name"`
	Bytes uint64 `json:"bytes"`
}

// Row identifies a row of the pool, with a number that belongs to it.
type Row struct {
	data.ID
	Value float64 `json:"value"`
}

// Pool describes the training rows. Its sample is spread evenly over them.
type Pool struct {
	Rows     int            `json:"rows"`
	Datasets map[string]int `json:"datasets"`
	Lengths  []int          `json:"lengths"` // rows by length class: see LengthBin
	Sample   []data.ID      `json:"sample"`
	Packed   bool           `json:"packed,omitempty"` // a row holds several rows of the data set
}

// Step is written with every line of the training log.
type Step struct {
	Step    int                `json:"step"`
	Tokens  int                `json:"tokens"`           // trained on so far, without padding
	Seconds float64            `json:"seconds"`          // of training so far, including the phases below
	Phases  map[string]float64 `json:"phases"`           // of these, seconds not spent on training: selecting, evaluating, saving
	Memory  map[string]uint64  `json:"memory,omitempty"` // for these phases and training, the most memory in bytes that the process held at the end of one
	Peak    uint64             `json:"peak"`             // the process's peak memory so far, bytes; 0 = unknown
	Done    bool               `json:"done,omitempty"`   // the run is finished
	Dealt   *Dealt             `json:"dealt,omitempty"`  // nil in the files of earlier versions
}

// Dealt is how often the rows have been trained on so far.
type Dealt struct {
	Rows     int `json:"rows"`                // number of rows
	Never    int `json:"never"`               // rows not trained on
	Once     int `json:"once"`                // trained on once
	More     int `json:"more"`                // more than once
	Most     int `json:"most"`                // the largest count of a row
	Dealt    int `json:"dealt"`               // samples in total
	FromStep int `json:"from_step,omitempty"` // the step at which counting began
}

// Writer appends to the file.
type Writer struct {
	path    string
	phases  map[string]float64
	memory  map[string]uint64 // the most that was held at the end of each phase, bytes
	chosen  []bool            // pool rows in any selection
	last    map[int]bool      // the rows of the last selection
	domains *domains
	weights []Weighed // since the last line of the log
	scalar  func(step int, tag string, value float64) error
}

// Open starts the file of a run over pool rows, or with fresh removes what an earlier one left.
// Otherwise the lines of steps after step are dropped, and also the decision made at step,
// unless the run holds it; what was chosen so far is read from selected_rows.jsonl, which must
// already be truncated to the step. scalar receives the numbers for TensorBoard and other
// trackers.
func Open(dir string, fresh bool, step int, held bool, pool int, scalar func(step int, tag string, value float64) error) (*Writer, error) {
	w := &Writer{path: filepath.Join(dir, Name), phases: map[string]float64{}, memory: map[string]uint64{}, chosen: make([]bool, pool), scalar: scalar}
	if fresh {
		if err := storage.Remove(w.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", Name, err)
		}
		return w, nil
	}
	_, err := report.ReadPicks(dir, func(p *report.Picked) {
		w.chose(p.Index)
	})
	if err != nil {
		return nil, err
	}
	return w, w.truncate(step, held)
}

// truncate keeps the lines up to a step, including the decision at the step if it is held, and
// restores the sums from them.
func (w *Writer) truncate(step int, held bool) error {
	lines, whole, err := read(w.path)
	if err != nil {
		return err
	}
	var kept []byte
	dropped := !whole
	for _, l := range lines {
		if at := l.at(); at > step || at == step && !held && l.opensWindow() {
			dropped = true
			continue
		}
		if l.Step != nil {
			w.phases, w.memory = l.Step.Phases, l.Step.Memory
		}
		raw, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("%s: %w", Name, err)
		}
		kept = append(append(kept, raw...), '\n')
	}
	if w.phases == nil {
		w.phases = map[string]float64{}
	}
	if w.memory == nil {
		w.memory = map[string]uint64{}
	}
	if !dropped {
		return nil
	}
	return storage.WriteFile(w.path, kept)
}

// Read returns the lines of a run's file, none where there is none. An incomplete last line is
// left out; a damaged line is an error that names it.
func Read(dir string) ([]Line, error) {
	lines, _, err := read(filepath.Join(dir, Name))
	return lines, err
}

func read(path string) (lines []Line, whole bool, err error) {
	f, err := storage.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", Name, err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	for {
		var l Line
		switch err := d.Decode(&l); {
		case errors.Is(err, io.EOF):
			return lines, true, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return lines, false, nil
		case err != nil:
			return nil, false, fmt.Errorf("%s: line %d: %w", path, len(lines)+1, err)
		}
		lines = append(lines, l)
	}
}

// add appends a line in a single write.
func (w *Writer) add(l Line) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("%s: %w", Name, err)
	}
	f, err := storage.OpenFile(w.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("%s: %w", Name, err)
	}
	_, err = f.Write(append(raw, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", Name, err)
	}
	return nil
}

// Phase starts timing a phase that is not training; the function it returns ends it.
func (w *Writer) Phase(name string) (stop func()) {
	started := time.Now()
	return func() {
		w.phases[name] += time.Since(started).Seconds()
		w.took(name)
	}
}

// Start records what is known at the start.
func (w *Writer) Start(r Run) error {
	r.Started, r.Version = time.Now(), version()
	return w.add(Line{Run: &r})
}

// version is the commit that this program was built from, if known.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var commit, changed string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			if s.Value == "true" {
				changed = ", changed"
			}
		}
	}
	return commit + changed
}

// Stamp records size and time of the data files, so that the page does not show rows of a file
// that has changed since.
func (r *Run) Stamp(paths []string) {
	if r.Stamps == nil {
		r.Stamps = map[string]string{}
	}
	for _, p := range paths {
		r.Stamps[p] = stamp(p)
	}
}

// Unchanged reports whether a file is the same as when training started.
func (r *Run) Unchanged(path string) bool {
	return r.Stamps[path] != "" && r.Stamps[path] == stamp(path)
}

func stamp(path string) string {
	s, err := storage.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d bytes, %s", s.Size(), s.ModTime().UTC().Format(time.RFC3339Nano))
}
