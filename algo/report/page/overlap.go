package page

import (
	"maps"
	"math"
	"slices"

	"dataflex.dev/dataflex/data"
)

// Overlap is the similarity of the choices of two runs.
type Overlap struct {
	A       string  `json:"a"`
	B       string  `json:"b"`
	Both    int     `json:"both"`    // rows that both runs chose at any time
	Jaccard float64 `json:"jaccard"` // these, divided by the rows that either run chose
	Last    float64 `json:"last"`    // the same for the last selections only

	// Spearman's rank correlation of the number of times that each row of the pool was chosen,
	// ties at their mean rank; nil where the pools differ, or every row was chosen equally
	// often.
	Rank *float64 `json:"rank"`
}

// Overlaps compares the choices of every pair of runs that made any.
func Overlaps(runs []*Run) (out []Overlap) {
	for i, a := range runs {
		for _, b := range runs[i+1:] {
			if a.Choice == nil || b.Choice == nil {
				continue
			}
			timesA, timesB := a.timesChosen(), b.timesChosen()
			o := Overlap{A: a.Name, B: b.Name, Jaccard: jaccard(timesA, timesB), Last: jaccard(a.lastChosen(), b.lastChosen())}
			for id := range timesA {
				if timesB[id] > 0 {
					o.Both++
				}
			}
			if samePool(a, b) {
				o.Rank = spearman(timesA, timesB, a.facts.Pool.Rows)
			}
			out = append(out, o)
		}
	}
	return out
}

func (r *Run) timesChosen() map[data.ID]int {
	out := map[data.ID]int{}
	for _, p := range r.picks {
		for _, id := range p.Rows {
			out[id]++
		}
	}
	return out
}

func (r *Run) lastChosen() map[data.ID]int {
	out := map[data.ID]int{}
	for _, id := range r.picks[len(r.picks)-1].Rows {
		out[id]++
	}
	return out
}

// samePool reports whether two runs chose among the same rows, as far as can be told.
func samePool(a, b *Run) bool {
	return a.facts != nil && b.facts != nil && a.facts.Pool.Rows == b.facts.Pool.Rows && maps.Equal(a.facts.Pool.Datasets, b.facts.Pool.Datasets) &&
		slices.Equal(a.facts.Pool.Sample, b.facts.Pool.Sample)
}

// spearman correlates two counts over n rows, most of which have neither.
func spearman(a, b map[data.ID]int, n int) *float64 {
	ids := maps.Clone(a)
	maps.Copy(ids, b)
	if len(ids) > n {
		return nil
	}
	rankA, rankB := ranks(a, n), ranks(b, n)
	mean := float64(n+1) / 2
	var ab, aa, bb float64
	add := func(x, y, times float64) {
		ab, aa, bb = ab+times*(x-mean)*(y-mean), aa+times*(x-mean)*(x-mean), bb+times*(y-mean)*(y-mean)
	}
	for id := range ids {
		add(rankA[a[id]], rankB[b[id]], 1)
	}
	add(rankA[0], rankB[0], float64(n-len(ids)))
	if aa == 0 || bb == 0 {
		return nil
	}
	rho := ab / math.Sqrt(aa*bb)
	return &rho
}

// ranks are the mean ranks, from 1, of rows by their count: rows missing from the map have
// count 0.
func ranks(count map[data.ID]int, n int) map[int]float64 {
	rows := map[int]int{0: n - len(count)}
	for _, c := range count {
		rows[c]++
	}
	out := map[int]float64{}
	below := 0
	for _, c := range slices.Sorted(maps.Keys(rows)) {
		out[c] = float64(below) + float64(rows[c]+1)/2
		below += rows[c]
	}
	return out
}
