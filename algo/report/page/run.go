package page

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// Run is what the page shows of a run.
type Run struct {
	Name       string        `json:"name"`
	Dir        string        `json:"dir"`
	TrainType  string        `json:"train_type"`
	Method     string        `json:"method"` // of the component; "" in a static run
	State      string        `json:"state"`  // in words
	Steps      int           `json:"steps"`  // taken so far
	Facts      [][2]string   `json:"facts"`
	Memory     *Memory       `json:"memory,omitempty"`
	Time       *Time         `json:"time,omitempty"`
	Curves     []Curve       `json:"curves"`
	Dealt      *record.Dealt `json:"dealt,omitempty"`   // how often the rows were trained on
	Choice     *Choice       `json:"choice,omitempty"`  // of dynamic_select
	Mixture    *Mixture      `json:"mixture,omitempty"` // of dynamic_mix
	Weights    *Weights      `json:"weights,omitempty"` // of dynamic_weight
	Rows       []Row         `json:"rows,omitempty"`
	RowsNote   string        `json:"rows_note,omitempty"` // where not all rows, or not their texts, are shown
	Duplicates []Group       `json:"duplicates,omitempty"`
	Config     [][2]string   `json:"config"`
	Notes      []string      `json:"notes,omitempty"` // what the page cannot show, and why

	lines []record.Line
	facts *record.Run // the newest; nil where the folder has no report_data.jsonl
	picks []*report.Picked
}

// Load reads the output folders of runs.
func Load(ctx context.Context, dirs []string) ([]*Run, error) {
	var out []*Run
	for _, dir := range dirs {
		r, err := load(dir)
		if err != nil {
			return nil, err
		}
		if err := r.addRows(ctx, len(dirs)); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	tellApart(out)
	return out, nil
}

// load reads everything except the rows' texts.
func load(dir string) (*Run, error) {
	full, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if !isRun(dir) {
		return nil, fmt.Errorf("report: %s is not the output_dir of a run: it has neither %s nor %s", dir, report.LogName, record.Name)
	}
	r := &Run{Name: filepath.Base(full), Dir: full, TrainType: "static", Facts: [][2]string{}, Curves: []Curve{}}
	if r.lines, err = record.Read(dir); err != nil {
		return nil, err
	}
	for _, l := range r.lines {
		if l.Run != nil {
			r.facts = l.Run
		}
	}
	if r.facts == nil {
		r.Notes = append(r.Notes, "This folder has no "+record.Name+": the scores of all rows, memory, time by phase and the rows' texts are not shown.")
	}
	if _, err := report.ReadPicks(dir, func(p *report.Picked) { r.picks = append(r.picks, p) }); err != nil {
		return nil, err
	}
	if err := r.addCurves(dir); err != nil {
		return nil, err
	}
	r.addFacts()
	r.addCourse()
	r.addChoice()
	r.addMixture()
	r.addWeights()
	return r, nil
}

func isRun(dir string) bool {
	for _, name := range []string{report.LogName, record.Name} {
		if _, err := storage.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// tellApart adds to equal names of runs the part of their folders that differs.
func tellApart(runs []*Run) {
	for depth := 2; depth < 8; depth++ {
		seen := map[string]int{}
		for _, r := range runs {
			seen[r.Name]++
		}
		for _, r := range runs {
			if seen[r.Name] > 1 {
				parts := strings.Split(filepath.ToSlash(r.Dir), "/")
				r.Name = strings.Join(parts[max(0, len(parts)-depth):], "/")
			}
		}
	}
}

// addFacts describes in a few lines what was trained.
func (r *Run) addFacts() {
	f := r.facts
	if f == nil {
		if len(r.picks) > 0 {
			r.TrainType = "dynamic_select"
		}
		return
	}
	r.TrainType, r.Method, r.Config = f.TrainType, f.Component, f.Config
	r.Facts = append(r.Facts, [2]string{"model", f.Model})
	if f.Component != "" {
		r.Facts = append(r.Facts, [2]string{f.TrainType, f.Component + ", mode " + f.Mode}, [2]string{"parameters of " + f.Component, f.Params})
	} else {
		r.Facts = append(r.Facts, [2]string{"train_type", f.TrainType})
	}
	r.Facts = append(r.Facts,
		[2]string{"data", fmt.Sprintf("%d rows of %s", f.Pool.Rows, strings.Join(slices.Sorted(maps.Keys(f.Pool.Datasets)), ", "))},
		[2]string{"steps", fmt.Sprintf("%d of %d rows each", f.Steps, f.Batch)},
		[2]string{"trained", fmt.Sprintf("%d parameters", f.Trainable)},
		[2]string{"device", f.Device + ", " + f.Precision},
		[2]string{"started", f.Started.UTC().Format("2006-01-02 15:04:05 UTC")})
	if f.Version != "" {
		r.Facts = append(r.Facts, [2]string{"program", f.Version})
	}
}

// historyAt is the log history of a finished run, if it belongs to this run.
func historyAt(dir string, step int) ([]pyjson.Object, error) {
	h, err := report.ReadHistory(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(h) == 0 || h[len(h)-1].Get("step") != step {
		return nil, nil // of an earlier run in the same folder
	}
	return h, nil
}
