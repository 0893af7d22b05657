package record

import (
	"cmp"
	"slices"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
)

// Weights is how a weighter weighed the rows since the last line of the training log. A row's
// weight is relative to that of an unweighted row, the mean of its step.
type Weights struct {
	Step      int        `json:"step"`
	Rows      int        `json:"rows"`
	Bins      []int      `json:"bins"`      // rows by weight: tenths from 0 to 4, the last bin unbounded
	Quantiles [5]float64 `json:"quantiles"` // lowest, quartiles, highest
	Heavy     []Weighed  `json:"heavy"`     // heaviest first
	Light     []Weighed  `json:"light"`     // lightest first
}

// Weighed is a row with its relative weight and its loss at that time.
type Weighed struct {
	data.ID
	Weight float64 `json:"weight"`
	Loss   float64 `json:"loss"`
	Step   int     `json:"step"` // for which it was weighed, from 1
}

// The bins of Weights.Bins, each BinWidth wide, start at 0.
const (
	weightBins = 41
	BinWidth   = 0.1
)

// mostWeighed is the maximum number of rows buffered for a line of the log.
const mostWeighed = 1 << 16

// extremes is the number of rows that a line names at each end.
const extremes = 3

// Weigh records the weights and losses of a step's rows, by micro-batch; if a step is repeated,
// its values replace the earlier ones.
func (w *Writer) Weigh(step int, micros []batch.Micro, weight, loss [][]float64, pool []data.Example) {
	var sum float64
	n := 0
	for i := range weight {
		for _, v := range weight[i] {
			sum, n = sum+v, n+1
		}
	}
	if sum <= 0 || !finite(sum) {
		return
	}
	if len(w.weights) > mostWeighed {
		return // logging is off: nothing would ever clear them
	}
	w.weights = slices.DeleteFunc(w.weights, func(r Weighed) bool { return r.Step == step })
	for i, m := range micros {
		for r, row := range m.Rows {
			if l := loss[i][r]; finite(l) {
				w.weights = append(w.weights, Weighed{pool[row].ID, weight[i][r] * float64(n) / sum, l, step})
			}
		}
	}
}

func (w *Writer) flushWeights(step int) error {
	if len(w.weights) == 0 {
		return nil
	}
	rows := w.weights
	w.weights = nil
	slices.SortStableFunc(rows, func(a, b Weighed) int { return cmp.Compare(a.Weight, b.Weight) })
	line := Weights{Step: step, Rows: len(rows), Bins: make([]int, weightBins), Light: rows[:min(extremes, len(rows))]}
	for _, r := range rows {
		line.Bins[max(0, min(int(r.Weight/BinWidth), weightBins-1))]++
	}
	for i := range line.Quantiles {
		at := float64(i) / 4 * float64(len(rows)-1)
		lo := int(at)
		line.Quantiles[i] = rows[lo].Weight + (at-float64(lo))*(rows[min(lo+1, len(rows)-1)].Weight-rows[lo].Weight)
	}
	heavy := slices.Clone(rows[max(0, len(rows)-extremes):])
	slices.Reverse(heavy)
	line.Heavy = heavy
	if err := w.add(Line{Weights: &line}); err != nil {
		return err
	}
	for i, name := range []string{"lowest", "quarter", "median", "three_quarters", "highest"} {
		if err := w.scalar(step, "weights/"+name, line.Quantiles[i]); err != nil {
			return err
		}
	}
	return nil
}
