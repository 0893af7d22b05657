package main

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// scoresName is the file of `score` with a line for every row.
const scoresName = "scores.jsonl"

// readScores reads the scores written by `score` or by a run, each row once: a row that occurs
// several times has its best score. path is the file found.
func readScores(from string) (path string, rows []scored, err error) {
	path = from
	if info, err := os.Stat(from); err == nil && info.IsDir() {
		path = filepath.Join(from, scoresName)
		if !storage.Exists(path) {
			path = filepath.Join(from, report.PicksName)
		}
		if !storage.Exists(path) {
			return "", nil, fmt.Errorf("%s has neither %s, which dataflex-cli score writes, nor %s, which a run writes", from, scoresName, report.PicksName)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	at := map[data.ID]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for n := 1; lines.Scan(); n++ {
		r, err := readScore(lines.Bytes())
		if err != nil {
			return "", nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		i, twice := at[r.ID]
		if !twice {
			at[r.ID] = len(rows)
			rows = append(rows, r)
			continue
		}
		rows[i].Times += r.Times
		if math.IsNaN(rows[i].Score) || r.Score > rows[i].Score {
			rows[i].Score = r.Score
		}
	}
	if err := lines.Err(); err != nil {
		return "", nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(rows) == 0 {
		return "", nil, fmt.Errorf("%s is empty", path)
	}
	return path, rows, nil
}

// known are the keys of a line that are not scores.
var known = map[string]bool{"step": true, "update": true, "rank": true, "index": true, "dataset": true, "row": true}

// readScore reads a line: {"index", "dataset", "row", "score"} of scores.jsonl, or
// {"step", "update", "rank", "index", "dataset", "row"} of selected_rows.jsonl, whose
// score is the first number with another name, if there is one.
func readScore(line []byte) (scored, error) {
	r := scored{Score: math.NaN()}
	o, err := pyjson.DecodeObject(line)
	if err != nil {
		return r, err
	}
	name, ok := o.Get("dataset").(string)
	row, ok2 := o.Get("row").(int)
	if !ok || !ok2 || row < 0 {
		return r, errors.New(`a row needs "dataset" and "row"`)
	}
	r.Dataset, r.Row = name, row
	if o.Get("step") != nil {
		r.Times = 1
	}
	for _, f := range o {
		if known[f.Key] {
			continue
		}
		switch v := f.Value.(type) {
		case float64:
			r.Score = v
		case int:
			r.Score = float64(v)
		case nil:
		default:
			return r, fmt.Errorf("%s is not a number", f.Key)
		}
		break
	}
	if math.IsInf(r.Score, 0) {
		r.Score = math.NaN()
	}
	return r, nil
}
