package reorder

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/data/storage"
)

// table is the scores of a file: by data set and row, or as a plain list.
type table struct {
	path  string
	list  []float64
	named map[data.ID]float64
	sets  map[string][]float64
}

// readTable reads scores: numbers in a row (.npy, .json, or a line each in .jsonl), null
// for none; objects {"dataset", "row", "score"}; or in .json an object of lists by data set.
func readTable(path, field string) (*table, error) {
	t := &table{path: path}
	if filepath.Ext(path) == ".npy" {
		a, err := npy.Read(path)
		if err != nil {
			return nil, err
		}
		t.list = a.Float64s()
		return t, nil
	}
	raw, err := storage.ReadFile(path)
	if err != nil {
		return nil, err
	}
	raw = bytes.TrimSpace(raw)
	var items []json.RawMessage
	switch {
	case filepath.Ext(path) == ".jsonl":
		for line := range bytes.Lines(raw) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				items = append(items, line)
			}
		}
	case bytes.HasPrefix(raw, []byte("{")):
		return t, t.readSets(raw)
	default:
		if err := json.Unmarshal(raw, &items); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return t, t.readItems(items, field)
}

func (t *table) readSets(raw []byte) error {
	var sets map[string][]*float64
	if err := json.Unmarshal(raw, &sets); err != nil {
		return fmt.Errorf("%s: an object has a list of numbers for every data set: %w", t.path, err)
	}
	t.sets = map[string][]float64{}
	for name, list := range sets {
		for _, x := range list {
			t.sets[name] = append(t.sets[name], number(x))
		}
	}
	return nil
}

func (t *table) readItems(items []json.RawMessage, field string) error {
	for i, item := range items {
		var x *float64
		if err := json.Unmarshal(item, &x); err == nil {
			t.list = append(t.list, number(x))
			continue
		}
		var o map[string]json.RawMessage
		var id data.ID
		err := json.Unmarshal(item, &o)
		if _, ok := o[field]; err == nil && !ok {
			err = fmt.Errorf("there is no %q", field)
		}
		if err == nil {
			err = json.Unmarshal(o[field], &x)
		}
		_, named := o["row"]
		if err == nil && named {
			err = json.Unmarshal(item, &id)
		}
		if err != nil {
			return fmt.Errorf("%s, entry %d: %.60s: a number, or an object with %s and, to name its row, dataset and row: %w", t.path, i, item, field, err)
		}
		if !named {
			t.list = append(t.list, number(x))
			continue
		}
		if t.named == nil {
			t.named = map[data.ID]float64{}
		}
		if _, twice := t.named[id]; twice {
			return fmt.Errorf("%s, entry %d: row %d of %s already has a score", t.path, i, id.Row, id.Dataset)
		}
		t.named[id] = number(x)
	}
	if t.list != nil && t.named != nil {
		return fmt.Errorf("%s: either all entries name their rows or none does", t.path)
	}
	return nil
}

func number(x *float64) float64 {
	if x == nil || math.IsInf(*x, 0) {
		return math.NaN()
	}
	return *x
}

// oneAfterTheOther reports whether every data set's rows follow each other, so that a list in
// the order of rows cannot have been made for another mixture of them.
func oneAfterTheOther(rows []data.Example) bool {
	seen := map[string]bool{}
	for i, ex := range rows {
		if i > 0 && ex.Dataset == rows[i-1].Dataset {
			continue
		}
		if seen[ex.Dataset] {
			return false
		}
		seen[ex.Dataset] = true
	}
	return true
}

// of is the scores of rows; NaN where there is none. With index a plain list is in the order of
// rows, otherwise in the order of the rows' numbers in their file.
func (t *table) of(rows []data.Example, index bool) ([]float64, error) {
	if t.list != nil && index {
		if len(t.list) != len(rows) {
			return nil, fmt.Errorf("%s has %d scores, and with apply_at: index it needs one for each of the %d tokenised rows", t.path, len(t.list), len(rows))
		}
		return t.list, nil
	}
	out := make([]float64, len(rows))
	for i, ex := range rows {
		if t.list != nil && ex.Dataset != rows[0].Dataset {
			return nil, fmt.Errorf("%s is a plain list, and the rows are of several data sets (%s, %s, …): name the rows, {\"dataset\": …, \"row\": …, \"score\": …} each", t.path, rows[0].Dataset, ex.Dataset)
		}
		list := t.list
		if t.sets != nil {
			list = t.sets[ex.Dataset]
		}
		score, ok := t.named[ex.ID]
		if list != nil && ex.Row < len(list) {
			score, ok = list[ex.Row], true
		}
		if out[i] = score; !ok {
			out[i] = math.NaN()
		}
	}
	return out, nil
}

// stepScores reads a metric of the rows that a selector chose, from a step file or from all
// step files of a folder, of which later ones take precedence; NaN for rows in none of them.
func stepScores(path, metric string, rows int) ([]float64, error) {
	info, err := storage.Stat(path)
	if err != nil {
		return nil, err
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = storage.Match(path, "step_*.json"); err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s has no step_N.json", path)
		}
		slices.SortFunc(files, func(a, b string) int {
			if len(a) != len(b) { // step_9 before step_10
				return len(a) - len(b)
			}
			return strings.Compare(a, b)
		})
	}
	out := slices.Repeat([]float64{math.NaN()}, rows)
	for _, f := range files {
		if err := addStep(out, f, metric); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
	}
	return out, nil
}

// bareNumbers are constants that Python writes and JSON does not have.
var bareNumbers = strings.NewReplacer("-Infinity", "null", "Infinity", "null", "NaN", "null")

func addStep(out []float64, path, metric string) error {
	raw, err := storage.ReadFile(path)
	if err != nil {
		return err
	}
	var file struct {
		Indices []int                      `json:"indices"`
		Metric  map[string]json.RawMessage `json:"metric"`
	}
	if err := json.Unmarshal([]byte(bareNumbers.Replace(string(raw))), &file); err != nil {
		return err
	}
	var values []*float64
	if _, ok := file.Metric[metric]; !ok {
		var names []string
		for name := range file.Metric {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("there is no metric %q: there are %v; name one with metric_key", metric, names)
	}
	if err := json.Unmarshal(file.Metric[metric], &values); err != nil {
		return fmt.Errorf("metric %s is not a list of numbers: %w", metric, err)
	}
	switch len(values) {
	case len(file.Indices):
		for k, i := range file.Indices {
			if i < 0 || i >= len(out) {
				return fmt.Errorf("row %d of a pool of %d: the file was made from other data", i, len(out))
			}
			out[i] = number(values[k])
		}
	case len(out):
		for i, x := range values {
			if x != nil {
				out[i] = *x
			}
		}
	default:
		return fmt.Errorf("metric %s has %d values for %d chosen rows of a pool of %d", metric, len(values), len(file.Indices), len(out))
	}
	return nil
}

// missing is an error that names rows without a score; nil where every row has one.
func missing(rows []data.Example, scores []float64, way string) error {
	n, first := 0, ""
	for i, x := range scores {
		if !math.IsNaN(x) {
			continue
		}
		if n++; n <= 4 {
			first += fmt.Sprintf(", row %d of %s", rows[i].Row, rows[i].Dataset)
		}
	}
	if n == 0 {
		return nil
	}
	if n > 4 {
		first += ", …"
	}
	return fmt.Errorf("%d of %d rows have no score: %s: %s", n, len(rows), first[2:], way)
}
