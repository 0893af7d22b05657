package report

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// Picked is a selection read from selected_rows.jsonl.
type Picked struct {
	Step, Update int
	Index        []int     // positions in the pool, in the order of choice
	Rows         []data.ID // their sources
	Names        []string  // metrics, in the file's order
	Metric       map[string][]float64
}

// ReadPicks calls each with every selection of selected_rows.jsonl, in order, with one
// selection at a time in memory. An incomplete last line is left out. ok is false where the
// file is missing.
func ReadPicks(dir string, each func(*Picked)) (ok bool, err error) {
	f, err := storage.Open(filepath.Join(dir, PicksName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", PicksName, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var now *Picked
	names := map[string]string{} // one copy of each dataset's name, whatever the number of rows
	r := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", PicksName, err)
		}
		o, err := pyjson.DecodeObject(line)
		if err != nil {
			return false, fmt.Errorf("%s:%d: %w", f.Name(), n, err)
		}
		if step := stepOf(o); now == nil || now.Step != step {
			if now != nil {
				each(now)
			}
			now = &Picked{Step: step, Metric: map[string][]float64{}}
		}
		if err := now.add(o, names); err != nil {
			return false, fmt.Errorf("%s:%d: %w", f.Name(), n, err)
		}
	}
	if now != nil {
		each(now)
	}
	return true, nil
}

func (p *Picked) add(line pyjson.Object, names map[string]string) error {
	index, isIndex := line.Get("index").(int)
	set, isSet := line.Get("dataset").(string)
	row, isRow := line.Get("row").(int)
	if _, isStep := line.Get("step").(int); !isStep || !isIndex || !isSet || !isRow {
		return errors.New("a selected row has step, index, dataset and row")
	}
	if known, ok := names[set]; ok {
		set = known
	} else {
		names[set] = set
	}
	p.Update, _ = line.Get("update").(int)
	p.Index, p.Rows = append(p.Index, index), append(p.Rows, data.ID{Dataset: set, Row: row})
	for _, f := range line {
		switch f.Key {
		case "step", "update", "rank", "index", "dataset", "row":
			continue
		}
		v, isFloat := f.Value.(float64)
		if !isFloat {
			continue
		}
		if !slices.Contains(p.Names, f.Key) {
			p.Names = append(p.Names, f.Key)
		}
		p.Metric[f.Key] = append(p.Metric[f.Key], v)
	}
	return nil
}
