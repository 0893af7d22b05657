// Package record keeps report_data.jsonl: what the report page needs of a run and no
// other file says. A run appends lines as it goes, so that a page can be made at any
// time; a resumed run first drops the lines of the steps it will take again.
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

// at is the step a line belongs to; a run's own line belongs to where it started.
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

// opensWindow says whether a line is of a decision, which is made after the checkpoint
// of the same step and so made again by a run that goes on from it.
func (l Line) opensWindow() bool {
	return l.Selection != nil || l.Mixture != nil && l.Mixture.Shares != nil
}

// Run is what is known when training starts, or goes on.
type Run struct {
	Started     time.Time         `json:"started"`
	From        int               `json:"from"` // the step it goes on from
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
	SetUp       float64           `json:"set_up"` // seconds from the start to the first step
	Memory      []Part            `json:"memory"` // planned, in the device's memory
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

// Row is a row of the pool by where it came from, with a number that belongs to it.
type Row struct {
	data.ID
	Value float64 `json:"value"`
}

// Pool is the training rows. Its sample is spread evenly over them.
type Pool struct {
	Rows     int            `json:"rows"`
	Datasets map[string]int `json:"datasets"`
	Lengths  []int          `json:"lengths"` // rows by length: see LengthBin
	Sample   []data.ID      `json:"sample"`
	Packed   bool           `json:"packed,omitempty"` // rows hold several of the data set's
}

// Step is written with every line of the training log.
type Step struct {
	Step    int                `json:"step"`
	Tokens  int                `json:"tokens"`           // trained on so far, without padding
	Seconds float64            `json:"seconds"`          // of training so far, what follows included
	Phases  map[string]float64 `json:"phases"`           // of these, seconds that were no training: selecting, evaluating, saving
	Memory  map[string]uint64  `json:"memory,omitempty"` // of these phases and of training, the most that the process held at the end of one, bytes
	Peak    uint64             `json:"peak"`             // most memory of the process so far, bytes; 0 = unknown
	Done    bool               `json:"done,omitempty"`   // the run is at its end
	Dealt   *Dealt             `json:"dealt,omitempty"`  // nil in the files of earlier versions
}

// Dealt is how often the rows were trained on so far.
type Dealt struct {
	Rows     int `json:"rows"`                // that there are
	Never    int `json:"never"`               // of these, not trained on
	Once     int `json:"once"`                // trained on once
	More     int `json:"more"`                // more than once
	Most     int `json:"most"`                // the most often that a row was
	Dealt    int `json:"dealt"`               // samples in all
	FromStep int `json:"from_step,omitempty"` // counted from there on
}

// Writer appends to the file.
type Writer struct {
	path    string
	phases  map[string]float64
	memory  map[string]uint64 // the most that was held at the end of each phase, bytes
	chosen  []bool            // pool rows that any selection took
	last    map[int]bool      // the rows of the last one
	domains *domains
	weights []Weighed // since the last line of the log
	scalar  func(step int, tag string, value float64) error
}

// Open starts the file of a run over pool rows, or with fresh removes what an earlier
// one left. Otherwise the lines of steps after step are dropped, and of what was chosen at
// step, unless the run holds it; selected_rows.jsonl
// tells, itself cut back to the step, what was chosen so far. scalar is told the numbers
// that TensorBoard and the like show.
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

// truncate keeps the lines up to a step, the opening of the window at the step among
// them if it is held, and takes up the sums they hold.
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

// Read returns the lines of a run's file, none where there is none. An unfinished last
// line is left out; a damaged one is an error that names it.
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

// add appends a line in one write.
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

// Phase starts the clock of what is not training; the function returned stops it.
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

// version is the commit that this program was built from, where it knows.
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

// Stamp notes the state of data files by size and time, so that a page does not show
// a row of a file that has changed since.
func (r *Run) Stamp(paths []string) {
	if r.Stamps == nil {
		r.Stamps = map[string]string{}
	}
	for _, p := range paths {
		r.Stamps[p] = stamp(p)
	}
}

// Unchanged says whether a file is as it was when training started.
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
