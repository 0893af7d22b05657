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
)

// picked is a selection as selected_rows.jsonl tells it.
type picked struct {
	step, update int
	index        []int     // positions in the pool, in the order of choice
	rows         []data.ID // what they are
	names        []string  // metrics, in the file's order
	metric       map[string][]float64
}

// readPicks calls each with every selection of selected_rows.jsonl, in order, one
// at a time in memory. An unfinished last line is left out. ok is false where the
// file is missing.
func readPicks(dir string, each func(*picked)) (ok bool, err error) {
	f, err := os.Open(filepath.Join(dir, PicksName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", PicksName, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var now *picked
	r := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", PicksName, err)
		}
		o, err := decodeObject(line)
		if err != nil {
			return false, fmt.Errorf("%s:%d: %w", f.Name(), n, err)
		}
		if step := stepOf(o); now == nil || now.step != step {
			if now != nil {
				each(now)
			}
			now = &picked{step: step, metric: map[string][]float64{}}
		}
		if err := now.add(o); err != nil {
			return false, fmt.Errorf("%s:%d: %w", f.Name(), n, err)
		}
	}
	if now != nil {
		each(now)
	}
	return true, nil
}

func (p *picked) add(line Object) error {
	index, isIndex := line.Get("index").(int)
	set, isSet := line.Get("dataset").(string)
	row, isRow := line.Get("row").(int)
	if _, isStep := line.Get("step").(int); !isStep || !isIndex || !isSet || !isRow {
		return errors.New("a selected row has step, index, dataset and row")
	}
	p.update, _ = line.Get("update").(int)
	p.index, p.rows = append(p.index, index), append(p.rows, data.ID{Dataset: set, Row: row})
	for _, f := range line {
		switch f.Key {
		case "step", "update", "rank", "index", "dataset", "row":
			continue
		}
		v, isFloat := f.Value.(float64)
		if !isFloat {
			continue
		}
		if !slices.Contains(p.names, f.Key) {
			p.names = append(p.names, f.Key)
		}
		p.metric[f.Key] = append(p.metric[f.Key], v)
	}
	return nil
}
