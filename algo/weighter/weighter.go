// Package weighter holds the methods of dynamic_weight. Importing it registers them.
//
// A loop calls Weigh once per optimizer step, from warmup_step on, with the losses of a forward
// pass over all its micro-batches; it computes the loss according to the Reduction.
package weighter

import (
	"log/slog"
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/data"
)

// perMicro makes one slice of weights per micro-batch, one weight per row.
func perMicro(r algo.WeightRequest) [][]float64 {
	out := make([][]float64, len(r.Micros))
	for i, m := range r.Micros {
		out[i] = make([]float64, len(m.Rows))
	}
	return out
}

// ones returns weight 1 for every row of a step.
func ones(r algo.WeightRequest) [][]float64 {
	out := perMicro(r)
	for _, w := range out {
		for i := range w {
			w[i] = 1
		}
	}
	return out
}

// lossOf returns a row's loss as upstream counts it: 0 for a row without a target.
func lossOf(r algo.WeightRequest, micro, row int) float64 {
	if r.Micros[micro].Labelled[row] == 0 {
		return 0
	}
	return r.Loss[micro][row]
}

// finite reports whether a row has a usable loss.
func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// nameBroken logs the rows that have targets but whose loss is NaN or Inf. Their weight is 0.
func nameBroken(log *slog.Logger, train []data.Example, r algo.WeightRequest) {
	for i, m := range r.Micros {
		for j, row := range m.Rows {
			if m.Labelled[j] > 0 && !finite(r.Loss[i][j]) {
				id := train[row].ID
				log.Warn("a row's loss is not finite: its weight is 0", "dataset", id.Dataset, "row", id.Row, "loss", r.Loss[i][j], "step", r.Step)
			}
		}
	}
}

// scaled multiplies the weights of the rows with a finite loss so that their mean over the step
// is 1, and sets those of rows without a target, which have no effect, to 1. Weights that are
// all 0 become 1.
func scaled(r algo.WeightRequest, w [][]float64) [][]float64 {
	var sum float64
	n := 0
	for i, m := range r.Micros {
		for j := range m.Rows {
			if m.Labelled[j] > 0 && finite(r.Loss[i][j]) {
				sum, n = sum+w[i][j], n+1
			}
		}
	}
	out := perMicro(r)
	for i, m := range r.Micros {
		for j := range m.Rows {
			switch {
			case m.Labelled[j] == 0:
				out[i][j] = 1
			case !finite(r.Loss[i][j]):
			case sum > 0:
				out[i][j] = w[i][j] * float64(n) / sum
			default:
				out[i][j] = 1
			}
		}
	}
	return out
}

// reduced returns a mode's weights for a step and the reduction that they are for. faithful:
// mean 1 over the step, with the loss normalised by tokens. upstream: w divided by the number
// of micro-batches, with the sum of the rows' mean losses.
func reduced(r algo.WeightRequest, mode algo.Mode, w [][]float64) ([][]float64, algo.Reduction) {
	if mode == algo.Faithful {
		return scaled(r, w), algo.TokenMean
	}
	for i := range w {
		for j := range w[i] {
			w[i][j] /= float64(len(w))
		}
	}
	return w, algo.RowSum
}
