package report

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// Picks appends to selected_rows.jsonl: one line per chosen row with step, rank, scores, and
// the data set and row it comes from.
type Picks struct{ path string }

// PicksName is the file's name in the output folder.
const PicksName = "selected_rows.jsonl"

// OpenPicks starts the file; fresh removes what an earlier run left, including its report.
func OpenPicks(dir string, fresh bool) (*Picks, error) {
	p := &Picks{path: filepath.Join(dir, PicksName)}
	if fresh {
		for _, name := range []string{PicksName, SelectionReportName} {
			if err := storage.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return p, nil
}

// Truncate drops the selections from a step on, which a resumed run will repeat.
func (p *Picks) Truncate(step int) error {
	return keepLines(p.path, func(line pyjson.Object) bool { return stepOf(line) < step })
}

// Write appends a selection.
func (p *Picks) Write(r algo.Request, sel algo.Selection, pool []data.Example) error {
	f, err := storage.OpenFile(p.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("%s: %w", PicksName, err)
	}
	var lines []byte
	for rank, i := range sel.Indices {
		o := pyjson.Object{{Key: "step", Value: r.Step}, {Key: "update", Value: r.Update}, {Key: "rank", Value: rank}, {Key: "index", Value: i}, {Key: "dataset", Value: pool[i].Dataset}, {Key: "row", Value: pool[i].Row}}
		for _, k := range slices.Sorted(maps.Keys(sel.Metric)) {
			if v := sel.Metric[k]; len(v) == len(sel.Indices) {
				o = append(o, pyjson.Field{Key: k, Value: v[rank]})
			}
		}
		lines = append(lines, pyjson.Encode(o, 0)+"\n"...)
	}
	_, err = f.Write(lines)
	return errors.Join(err, f.Close())
}
