package page

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data"
)

// Choice is what a selector chose over the run.
type Choice struct {
	Selections []Selection `json:"selections"`
	Choices    int         `json:"choices"`  // rows of all selections, including repeats
	Distinct   int         `json:"distinct"` // distinct rows
	Of         int         `json:"of"`       // rows of the pool; 0 = unknown
	Drift      Drift       `json:"drift"`
	Shares     []Share     `json:"shares"`
	Passed     []Passed    `json:"passed,omitempty"` // never chosen, with the highest scores of the last selection that scored all rows
	PassedStep int         `json:"passed_step,omitempty"`
	Metric     string      `json:"metric,omitempty"` // the score's name
	Times      [][2]int    `json:"times"`            // times chosen, number of rows
	Order      *Curve      `json:"order,omitempty"`  // of dynamic_reorder: the scores of the rows at the steps in which they are trained on
}

// Selection is one selection's numbers.
type Selection struct {
	Step     int     `json:"step"`
	Update   int     `json:"update"`
	Rows     int     `json:"rows"`
	Distinct int     `json:"distinct"`
	Overlap  int     `json:"overlap"` // distinct rows that were also in the selection before
	New      int     `json:"new"`     // in no earlier selection
	Dropped  int     `json:"dropped"` // in the selection before but not in this one
	Seconds  float64 `json:"seconds"` // 0 = unknown
	Reused   bool    `json:"reused,omitempty"`

	Histogram *record.Histogram `json:"histogram,omitempty"`
	Unscored  int               `json:"unscored,omitempty"`
}

// Drift is the similarity of selections: Jaccard indices (rows in both, divided by the rows in
// either) of every pair of the named steps.
type Drift struct {
	Steps   []int       `json:"steps"`
	Jaccard [][]float64 `json:"jaccard"`
	Of      int         `json:"of,omitempty"` // number of selections, where not all are compared
}

// Share is the distribution of the chosen rows and of all rows over classes of one kind.
type Share struct {
	Kind   string   `json:"kind"`
	Names  []string `json:"names"`
	All    []int    `json:"all"`    // rows of the pool
	Chosen []int    `json:"chosen"` // choices
	Last   []int    `json:"last"`   // of these, choices in the last selection
	Note   string   `json:"note,omitempty"`
}

// Passed is a row that was never chosen.
type Passed struct {
	data.ID
	Score float64 `json:"score"`
}

// compared is the maximum number of selections in the drift's matrix, and drawnScores the
// maximum number of score distributions on a page.
const (
	compared    = 32
	drawnScores = 24
)

func (r *Run) addChoice() {
	if len(r.picks) == 0 {
		return
	}
	c := &Choice{}
	records := map[int]*record.Selection{}
	for _, l := range r.lines {
		if l.Selection != nil {
			records[l.Selection.Step] = l.Selection
		}
	}
	times := map[int]int{}
	var sets []map[int]bool
	for _, p := range r.picks {
		s, set := r.selection(p, records[p.Step], sets, times)
		sets = append(sets, set)
		c.Selections = append(c.Selections, s)
		c.Choices += s.Rows
	}
	c.Distinct = len(times)
	count := map[int]int{}
	for _, n := range times {
		count[n]++
	}
	for _, n := range slices.Sorted(maps.Keys(count)) {
		c.Times = append(c.Times, [2]int{n, count[n]})
	}
	if r.facts != nil {
		c.Of = r.facts.Pool.Rows
	}
	c.Drift = drift(c.Selections, sets)
	r.Choice = c
	r.shareByDataset()
	r.shareByLength(records)
	r.passedOver(records)
	r.order(records)
	keepHistograms(c.Selections)
}

// order concatenates the orders of all decisions: each stretch of rows is drawn at the middle
// of its steps.
func (r *Run) order(records map[int]*record.Selection) {
	if r.facts == nil || r.facts.Batch < 1 {
		return
	}
	var set curveSet
	for _, p := range r.picks {
		s := records[p.Step]
		if s == nil {
			continue
		}
		for i, score := range s.Order {
			if score != nil {
				rows := (float64(i) + 0.5) / float64(len(s.Order)) * float64(len(p.Index))
				set.add("order", "score", float64(p.Step)+rows/float64(r.facts.Batch), *score)
			}
		}
	}
	if len(set.all) > 0 {
		c := thin(set.all[0])
		r.Choice.Order = &c
	}
}

// selection compares a selection with those before it.
func (r *Run) selection(p *report.Picked, rec *record.Selection, before []map[int]bool, times map[int]int) (Selection, map[int]bool) {
	s := Selection{Step: p.Step, Update: p.Update, Rows: len(p.Index)}
	set := map[int]bool{}
	for _, i := range p.Index {
		set[i] = true
	}
	s.Distinct = len(set)
	var last map[int]bool
	if len(before) > 0 {
		last = before[len(before)-1]
	}
	for i := range set {
		if last[i] {
			s.Overlap++
		}
		if times[i] == 0 {
			s.New++
		}
	}
	s.Dropped = len(last) - s.Overlap
	for _, i := range p.Index {
		times[i]++
	}
	if rec != nil {
		s.Seconds, s.Reused, s.Histogram, s.Unscored = rec.Seconds, rec.Reused, rec.Histogram, rec.Unscored
	}
	return s, set
}

func drift(selections []Selection, sets []map[int]bool) Drift {
	var d Drift
	which := spread(len(sets), compared)
	if len(which) < len(sets) {
		d.Of = len(sets)
	}
	for _, i := range which {
		d.Steps = append(d.Steps, selections[i].Step)
		row := make([]float64, len(which))
		for k, j := range which {
			row[k] = jaccard(sets[i], sets[j])
		}
		d.Jaccard = append(d.Jaccard, row)
	}
	return d
}

// jaccard is the number of keys in both maps divided by that in either; 1 for two empty maps.
func jaccard[K comparable, V any](a, b map[K]V) float64 {
	both := 0
	for k := range a {
		if _, ok := b[k]; ok {
			both++
		}
	}
	if either := len(a) + len(b) - both; either > 0 {
		return float64(both) / float64(either)
	}
	return 1
}

// spread is at most most of n indices, evenly spaced, including the first and the last.
func spread(n, most int) (out []int) {
	if n <= most {
		for i := range n {
			out = append(out, i)
		}
		return out
	}
	for i := range most {
		out = append(out, i*(n-1)/(most-1))
	}
	return out
}

// keepHistograms keeps the histograms of selections spread over the run.
func keepHistograms(s []Selection) {
	var have []int
	for i := range s {
		if s[i].Histogram != nil {
			have = append(have, i)
		}
	}
	kept := map[int]bool{}
	for _, k := range spread(len(have), drawnScores) {
		kept[have[k]] = true
	}
	for i := range s {
		if !kept[i] {
			s[i].Histogram = nil
		}
	}
}

func (r *Run) shareByDataset() {
	all := map[string]int{}
	if r.facts != nil {
		all = r.facts.Pool.Datasets
	}
	chosen, last := map[string]int{}, map[string]int{}
	for i, p := range r.picks {
		for _, id := range p.Rows {
			chosen[id.Dataset]++
			if i+1 == len(r.picks) {
				last[id.Dataset]++
			}
		}
	}
	names := slices.Collect(maps.Keys(all))
	for name := range chosen {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	r.Choice.addShare(classes("data set", names, all, chosen, last))
}

func classes(kind string, names []string, all, chosen, last map[string]int) Share {
	s := Share{Kind: kind, Names: names}
	for _, n := range names {
		s.All, s.Chosen, s.Last = append(s.All, all[n]), append(s.Chosen, chosen[n]), append(s.Last, last[n])
	}
	return s
}

func (r *Run) shareByLength(records map[int]*record.Selection) {
	if r.facts == nil {
		return
	}
	s := Share{Kind: "length", Note: "in tokens, template included"}
	n := len(r.facts.Pool.Lengths)
	chosen, last := make([]int, n), make([]int, n)
	for i, p := range r.picks {
		rec := records[p.Step]
		if rec == nil {
			continue
		}
		for k, v := range rec.Lengths[:min(n, len(rec.Lengths))] {
			chosen[k] += v
			if i+1 == len(r.picks) {
				last[k] += v
			}
		}
	}
	for k, all := range r.facts.Pool.Lengths {
		if all == 0 && chosen[k] == 0 {
			continue
		}
		s.Names = append(s.Names, lengthName(k, n))
		s.All, s.Chosen, s.Last = append(s.All, all), append(s.Chosen, chosen[k]), append(s.Last, last[k])
	}
	r.Choice.addShare(s)
}

// addShare adds a share unless nothing is known about it.
func (c *Choice) addShare(s Share) {
	if len(s.Names) > 0 {
		c.Shares = append(c.Shares, s)
	}
}

// lengthName is the name of a class of record.LengthBin.
func lengthName(bin, of int) string {
	high := 32 << bin
	switch {
	case bin == 0:
		return fmt.Sprintf("up to %d", high)
	case bin == of-1:
		return fmt.Sprintf("over %d", high/2)
	}
	return fmt.Sprintf("%d to %d", high/2+1, high)
}

// passedOver collects the rows that the last scored selection names and that no later one took.
func (r *Run) passedOver(records map[int]*record.Selection) {
	chosen := map[data.ID]bool{}
	for _, p := range r.picks {
		for _, id := range p.Rows {
			chosen[id] = true
		}
		if s := records[p.Step]; s != nil && s.Metric != "" {
			r.Choice.Metric = s.Metric
		}
	}
	for i := len(r.picks) - 1; i >= 0; i-- {
		s := records[r.picks[i].Step]
		if s == nil || s.Histogram == nil {
			continue
		}
		r.Choice.PassedStep = s.Step
		for _, row := range s.Passed {
			if !chosen[row.ID] && !math.IsNaN(row.Value) {
				r.Choice.Passed = append(r.Choice.Passed, Passed{row.ID, row.Value})
			}
		}
		return
	}
}
