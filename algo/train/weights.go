package train

import (
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/data"
)

// divisor is the number by which the losses of each micro-batch's tokens are divided: the
// labels of the whole step if they are counted across ranks; otherwise those of its rank,
// whose losses are averaged, as Hugging Face's Trainer does. It counts labels before the
// shift, a row's first token among them. Its LabelSmoother divides by the labels after the
// shift, which the first token is never one of (transformers 4.52.4, trainer_pt_utils.py).
func divisor(s *curriculum.Step, smooths bool, ranks int, across bool) []float64 {
	out := make([]float64, len(s.Micros))
	own, all := make([]int, ranks), 0
	for i, m := range s.Micros {
		n := m.Labels
		if smooths {
			n = m.Predicted()
		}
		own[s.Ranks[i]] += n
		all += n
	}
	for i := range out {
		if out[i] = float64(max(1, all)); ranks > 1 && !across {
			out[i] = float64(max(1, own[s.Ranks[i]]) * ranks)
		}
	}
	return out
}

// tokenWeights is the factor of every token's loss in the loss of a step, per micro-batch:
// by default that of its row divided by the divisor.
func tokenWeights(w curriculum.Weights, s *curriculum.Step, divisor []float64, ranks int) [][]float32 {
	micros := s.Micros
	out := make([][]float32, len(micros))
	for i, m := range micros {
		out[i] = make([]float32, len(m.Tokens))
		predicted := m.Predicted()
		for r, n := range m.Labelled {
			weight := 1.0
			if w.Rows != nil {
				weight = w.Rows[i][r]
			}
			scale := weight / divisor[i]
			switch w.How {
			case algo.RowSum:
				scale = weight / float64(n)
			case algo.MicroSum:
				scale = 1 / float64(max(predicted, 1)*ranks) * weight
			case algo.MicroMean: // upstream forgets to divide by the number of micro-batches (finding 54)
				scale = 1 / float64(max(predicted, 1)*len(micros)) * weight
			}
			for k := m.RowStart[r]; k < m.RowStart[r+1]; k++ {
				if m.Targets[k] >= 0 {
					out[i][k] = float32(scale)
				}
			}
		}
	}
	return out
}

// byColumn multiplies the weights of a step's rows by those of their weight column, scaled
// to a mean of 1 over the step.
func byColumn(train []data.Example, w *curriculum.Weights, micros []batch.Micro) {
	sum, n, given := columnWeight(train, micros)
	if !given {
		return
	}
	if w.Rows == nil {
		w.Rows = uniformRows(micros)
	}
	for i, m := range micros {
		for r, row := range m.Rows {
			w.Rows[i][r] *= train[row].Weight() * float64(n) / sum
		}
	}
}

func uniformRows(micros []batch.Micro) [][]float64 {
	out := make([][]float64, len(micros))
	for i, m := range micros {
		out[i] = make([]float64, len(m.Rows))
		for r := range out[i] {
			out[i][r] = 1
		}
	}
	return out
}

// columnWeight sums the column weights of the rows of a step; given reports whether one has
// a weight.
func columnWeight(train []data.Example, micros []batch.Micro) (sum float64, n int, given bool) {
	for _, m := range micros {
		for _, row := range m.Rows {
			sum += train[row].Weight()
			given = given || train[row].Given
			n++
		}
	}
	return sum, n, given
}

// weighedByColumn records the weights of a step's rows by a weight column. A weighter's own
// weights have already been recorded.
func (j *journal) weighedByColumn(s *curriculum.Step) {
	if _, _, given := columnWeight(j.rows, s.Micros); !given || j.weighed == s.Index+1 {
		return
	}
	var w curriculum.Weights
	byColumn(j.rows, &w, s.Micros)
	loss := make([][]float64, len(s.Micros))
	for i, m := range s.Micros {
		var ok []bool
		loss[i], ok = m.RowMeans(s.TokenLoss[i])
		for r := range loss[i] {
			if !ok[r] {
				loss[i][r] = math.NaN()
			}
		}
	}
	j.Weighed(s.Index+1, s.Micros, w.Rows, loss)
}
