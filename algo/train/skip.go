package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/model/optim"
)

// notFinite is an error of training rows whose loss or gradient is no number.
type notFinite struct {
	what string // loss or gradient
	rows []int
}

func (e *notFinite) Error() string {
	return fmt.Sprintf("the %s of %d rows is not finite", e.what, len(e.rows))
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// gradient makes the gradient of the coming step. A row whose loss or gradient is no
// number is left out, and the step made again as if it did not hold the row: other
// micro-batches, other normalisation, other weights, nothing of what came before.
func (l *loop) gradient(ctx context.Context) (g *gradient, err error) {
	dealt := l.sampler.step(l.step)
	defer func() {
		if g != nil {
			g.rows = dealt
		}
	}()
	rows := dealt
	for {
		s, labels := l.group(rows)
		if labels == 0 {
			return &gradient{step: s, nothing: "no labelled token in the rows of this step"}, nil
		}
		if sum, _, _ := l.columnWeight(s.Micros); sum == 0 {
			return &gradient{step: s, nothing: "every row of this step has the weight 0"}, nil
		}
		g, err := l.accumulate(ctx, s, labels)
		var broken *notFinite
		if !errors.As(err, &broken) {
			return g, err
		}
		if rows, err = l.without(broken, s.Micros); err != nil {
			return nil, err
		}
	}
}

// rowsNotFinite lists which of a micro-batch's rows have a loss that is no number.
func rowsNotFinite(m batch.Micro, tokenLoss []float32) (at []int) {
	mean, ok := m.RowMeans(tokenLoss)
	for i := range m.Rows {
		if ok[i] && !finite(mean[i]) {
			at = append(at, i)
		}
	}
	return at
}

func (e *notFinite) add(m batch.Micro, tokenLoss []float32) {
	for _, i := range rowsNotFinite(m, tokenLoss) {
		e.rows = append(e.rows, m.Rows[i])
	}
}

// brokenGradients looks for the rows that make a step's gradient no number though
// the losses are finite, by the gradient of each.
func (l *loop) brokenGradients(ctx context.Context, micros []batch.Micro, weights [][]float32) (*notFinite, error) {
	broken := &notFinite{what: "gradient"}
	for i, m := range micros {
		for r, row := range m.Rows {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			l.zeroGradients()
			alone := batch.Pack(l.train, []int{row})
			alone.PadLen = m.PadLen
			if _, _, err := l.backward(alone, i, weights[i][m.RowStart[r]:m.RowStart[r+1]]); err != nil {
				return nil, fmt.Errorf("step %d, %s: %w", l.step+1, l.describe([]int{row}), err)
			}
			if !finite(optim.GradNorm(l.device, l.params)) {
				broken.rows = append(broken.rows, row)
			}
		}
	}
	return broken, nil
}

// without is a step's rows but the broken ones, which are counted, and each named
// once. A step of which nothing is left to learn from is an error: then it is not
// the rows.
func (l *loop) without(broken *notFinite, micros []batch.Micro) ([][]int, error) {
	var rows [][]int
	left := 0
	for _, m := range micros {
		var kept []int
		for i, row := range m.Rows {
			if slices.Contains(broken.rows, row) {
				continue
			}
			kept = append(kept, row)
			left += m.Labelled[i]
		}
		if len(kept) > 0 {
			rows = append(rows, kept)
		}
	}
	if left == 0 {
		return nil, spoilt{fmt.Errorf("step %d, %s: the %s of every row of the step is NaN or infinite: the weights hold numbers that are not finite, or learning_rate %v is too high; %s",
			l.step+1, l.describe(broken.rows), broken.what, l.Config.Training.LearningRate, l.lastCheckpoint())}
	}
	for _, row := range broken.rows {
		if err := l.skip(row, broken.what); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// skip notes that a row was left out of the coming step.
func (l *loop) skip(row int, what string) error {
	if l.skipped == nil {
		l.skipped = map[int]int{}
	}
	l.skipped[row]++
	if l.skipped[row] > 1 {
		return nil
	}
	id := l.train[row].ID
	l.log.Warn("a row's "+what+" is not finite: it is left out of this step, and of every other where that is so", "dataset", id.Dataset, "row", id.Row, "step", l.step+1)
	return l.journal.note(pyjson.Object{
		{Key: "skipped_dataset", Value: id.Dataset},
		{Key: "skipped_row", Value: id.Row},
		{Key: "epoch", Value: l.Plan.Epoch(l.step)},
		{Key: "step", Value: l.step + 1},
	})
}

// timesSkipped is how many samples were left out of steps, a row as often as it was.
func (l *loop) timesSkipped() (n int) {
	for _, times := range l.skipped {
		n += times
	}
	return n
}
