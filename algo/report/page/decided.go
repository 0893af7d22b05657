package page

import (
	"cmp"
	"slices"

	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data"
)

// Mixture is the shares of the data sets over the run, and the loss of each.
type Mixture struct {
	Shares  []Curve `json:"shares"`
	Weights []Curve `json:"weights,omitempty"` // in the loss, where the mixer sets any
	Losses  []Curve `json:"losses"`
}

func (r *Run) addMixture() {
	var shares, weights, losses curveSet
	for _, l := range r.lines {
		m := l.Mixture
		if m == nil {
			continue
		}
		for i, name := range m.Domains {
			if i < len(m.Shares) {
				shares.add("shares", name, float64(m.Step), m.Shares[i])
			}
			if i < len(m.Weights) {
				weights.add("weights", name, float64(m.Step), m.Weights[i])
			}
			if i < len(m.Losses) && m.Losses[i] != nil {
				losses.add("losses", name, float64(m.Step), *m.Losses[i])
			}
		}
	}
	if len(shares.all) == 0 {
		return
	}
	r.Mixture = &Mixture{Shares: thinned(shares.all), Weights: thinned(weights.all), Losses: thinned(losses.all)}
}

func thinned(all []Curve) []Curve {
	out := make([]Curve, len(all))
	for i, c := range all {
		out[i] = thin(c)
	}
	return out
}

// Weights is how a weighter weighed rows; an unweighted row has weight 1.
type Weights struct {
	Rows      int              `json:"rows"`  // weighed, including repeats
	Bins      []int            `json:"bins"`  // by tenths of weight from 0 on; the last bin is unbounded
	Width     float64          `json:"width"` // of a bin
	Quantiles []Curve          `json:"quantiles"`
	Heavy     []record.Weighed `json:"heavy"`
	Light     []record.Weighed `json:"light"`
}

// named is how many rows the page names at each end of the weights.
const named = 25

var quantileNames = [5]string{"lowest", "quarter", "median", "three quarters", "highest"}

func (r *Run) addWeights() {
	w := &Weights{Width: record.BinWidth}
	var quantiles curveSet
	for _, l := range r.lines {
		s := l.Weights
		if s == nil {
			continue
		}
		w.Rows += s.Rows
		if w.Bins == nil {
			w.Bins = make([]int, len(s.Bins))
		}
		for i := range min(len(s.Bins), len(w.Bins)) {
			w.Bins[i] += s.Bins[i]
		}
		for i, v := range s.Quantiles {
			quantiles.add("weights", quantileNames[i], float64(s.Step), v)
		}
		w.Heavy = append(w.Heavy, s.Heavy...)
		w.Light = append(w.Light, s.Light...)
	}
	if w.Rows == 0 {
		return
	}
	w.Quantiles = thinned(quantiles.all)
	w.Heavy = outermost(w.Heavy, func(a, b record.Weighed) int { return cmp.Compare(b.Weight, a.Weight) })
	w.Light = outermost(w.Light, func(a, b record.Weighed) int { return cmp.Compare(a.Weight, b.Weight) })
	r.Weights = w
}

// outermost are the first rows of an order, each row once.
func outermost(rows []record.Weighed, order func(a, b record.Weighed) int) (out []record.Weighed) {
	slices.SortStableFunc(rows, order)
	seen := map[data.ID]bool{}
	for _, r := range rows {
		if !seen[r.ID] && len(out) < named {
			seen[r.ID] = true
			out = append(out, r)
		}
	}
	return out
}
