package train

import (
	"math"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/curriculum"
)

// byColumn multiplies the weights of a step's rows with those of their weight column,
// scaled to mean 1 over the step.
func (l *loop) byColumn(w *curriculum.Weights, micros []batch.Micro) {
	sum, n, given := l.columnWeight(micros)
	if !given {
		return
	}
	if w.Rows == nil {
		w.Rows = uniformRows(micros)
	}
	for i, m := range micros {
		for r, row := range m.Rows {
			w.Rows[i][r] *= l.train[row].Weight() * float64(n) / sum
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

// columnWeight adds up the weights that the rows of a step have by their column; given
// says whether one has.
func (l *loop) columnWeight(micros []batch.Micro) (sum float64, n int, given bool) {
	for _, m := range micros {
		for _, row := range m.Rows {
			sum += l.train[row].Weight()
			given = given || l.train[row].Given
			n++
		}
	}
	return sum, n, given
}

// recordColumn puts what a weight column made of a step's rows into the report. A
// weighter's own weights are there already.
func (l *loop) recordColumn(s *curriculum.Step) {
	if _, _, given := l.columnWeight(s.Micros); !given || l.journal.weighed == s.Index+1 {
		return
	}
	var w curriculum.Weights
	l.byColumn(&w, s.Micros)
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
	l.journal.Weighed(s.Index+1, s.Micros, w.Rows, loss)
}
