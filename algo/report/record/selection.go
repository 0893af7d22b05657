package record

import (
	"cmp"
	"maps"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/data"
)

// Selection is the part of a selection that selected_rows.jsonl lacks: the scores of all rows,
// not only of the chosen ones.
type Selection struct {
	Step      int        `json:"step"`
	Update    int        `json:"update"`
	Seconds   float64    `json:"seconds"`
	Reused    bool       `json:"reused,omitempty"` // found on disk, without the scores of the rows that were not chosen
	Rows      int        `json:"rows"`
	Metric    string     `json:"metric,omitempty"` // the score's name in selected_rows.jsonl
	Histogram *Histogram `json:"histogram,omitempty"`
	Unscored  int        `json:"unscored,omitempty"` // rows without a score
	Lengths   []int      `json:"lengths"`            // the chosen rows by LengthBin
	Passed    []Row      `json:"passed,omitempty"`   // highest scores of rows that no selection has chosen so far, highest first
	Order     []*float64 `json:"order,omitempty"`    // of an order of rows: the mean score of each stretch; nil = none of its rows has one
}

// passedOver is the number of rows that were never chosen which a selection names.
const passedOver = 100

// Selection records a selection.
func (w *Writer) Selection(r algo.Request, sel algo.Selection, pool []data.Example, seconds float64, reused bool) error {
	s := Selection{Step: r.Step, Update: r.Update, Seconds: seconds, Reused: reused, Rows: len(sel.Indices), Lengths: make([]int, lengthBins)}
	for _, i := range sel.Indices {
		s.Lengths[LengthBin(len(pool[i].InputIDs))]++
	}
	for _, name := range slices.Sorted(maps.Keys(sel.Metric)) {
		if len(sel.Metric[name]) == len(sel.Indices) {
			s.Metric = name
			break
		}
	}
	overlap, fresh := w.chose(sel.Indices)
	distinct := float64(max(len(w.last), 1))
	scalars := []scalar{{"selection/overlap", float64(overlap) / distinct}, {"selection/new", float64(fresh) / distinct}, {"selection/seconds", seconds}}
	if len(sel.Score) == len(pool) {
		s.Histogram, s.Unscored = histogram(sel.Score, func(i int) bool { return w.last[i] })
		s.Passed = w.passed(sel.Score, pool)
		if sel.Ordered {
			s.Order = stretches(sel.Score, sel.Indices)
		}
		scalars = append(scalars, means(sel.Score, w.last)...)
	}
	if err := w.add(Line{Selection: &s}); err != nil {
		return err
	}
	for _, v := range scalars {
		if err := w.scalar(r.Step, v.tag, v.value); err != nil {
			return err
		}
	}
	return nil
}

// mostStretches is the maximum number of parts into which an order is divided.
const mostStretches = 200

// stretches are the mean scores of consecutive rows in the order in which they are trained on.
func stretches(score []float64, rows []int) []*float64 {
	out := make([]*float64, min(mostStretches, len(rows)))
	for s := range out {
		var sum, n float64
		for _, i := range rows[s*len(rows)/len(out) : (s+1)*len(rows)/len(out)] {
			if finite(score[i]) {
				sum, n = sum+score[i], n+1
			}
		}
		if n > 0 {
			mean := sum / n
			out[s] = &mean
		}
	}
	return out
}

type scalar struct {
	tag   string
	value float64
}

// means are the mean scores of all rows and of the chosen rows.
func means(score []float64, chosen map[int]bool) (out []scalar) {
	var sum, part float64
	var n, of int
	for i, v := range score {
		if !finite(v) {
			continue
		}
		sum, n = sum+v, n+1
		if chosen[i] {
			part, of = part+v, of+1
		}
	}
	if n > 0 {
		out = append(out, scalar{"selection/score_mean_all", sum / float64(n)})
	}
	if of > 0 {
		out = append(out, scalar{"selection/score_mean_chosen", part / float64(of)})
	}
	return out
}

// chose records a selection, and returns how many of its distinct rows were in the one before,
// and how many in none.
func (w *Writer) chose(rows []int) (overlap, fresh int) {
	now := make(map[int]bool, len(rows))
	for _, i := range rows {
		if i < 0 || i >= len(w.chosen) || now[i] {
			continue
		}
		now[i] = true
		if w.last[i] {
			overlap++
		}
		if !w.chosen[i] {
			fresh++
		}
	}
	for i := range now {
		w.chosen[i] = true
	}
	w.last = now
	return overlap, fresh
}

// passed are the highest-scoring rows among those that were never chosen.
func (w *Writer) passed(score []float64, pool []data.Example) []Row {
	byScore := func(a, b int) int { return cmp.Or(cmp.Compare(score[b], score[a]), a-b) }
	var best []int
	for i, v := range score {
		if w.chosen[i] || !finite(v) || len(best) == passedOver && byScore(i, best[passedOver-1]) > 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, i, byScore)
		best = slices.Insert(best, at, i)
		best = best[:min(len(best), passedOver)]
	}
	out := make([]Row, len(best))
	for n, i := range best {
		out[n] = Row{pool[i].ID, score[i]}
	}
	return out
}
