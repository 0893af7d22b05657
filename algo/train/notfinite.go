package train

import (
	"context"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/curriculum"
)

// notFinite is an error of training rows whose loss or gradient is NaN or Inf.
type notFinite struct {
	what string // loss or gradient
	rows []int
}

func (e *notFinite) Error() string {
	return fmt.Sprintf("the %s of %d rows is not finite", e.what, len(e.rows))
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// rowsNotFinite lists the rows of a micro-batch whose loss is NaN or Inf.
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

// without returns a step's rows except the faulty ones, and how many labels they have.
func (e *notFinite) without(s *curriculum.Step) (micros []dealt, labels int) {
	for at, m := range s.Micros {
		var kept []int
		for i, row := range m.Rows {
			if slices.Contains(e.rows, row) {
				continue
			}
			kept = append(kept, row)
			labels += m.Labelled[i]
		}
		if len(kept) > 0 {
			micros = append(micros, dealt{kept, s.Ranks[at]})
		}
	}
	return micros, labels
}

// brokenGradients finds the rows that make a step's gradient NaN or Inf although the losses
// are finite, by computing the gradient of each.
func (p *passes) brokenGradients(ctx context.Context, s *curriculum.Step, weights [][]float32, smoothing float32) (*notFinite, error) {
	var found []rowAt
	err := func() error {
		for i, m := range s.Micros {
			for r, row := range m.Rows {
				if !p.lanes.own(s.Ranks[i]) {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				alone := batch.Pack(p.rows, []int{row})
				alone.PadLen = m.PadLen
				weight := [][]float32{weights[i][m.RowStart[r]:m.RowStart[r+1]]}
				ok, err := p.lanes.alone(func() error {
					_, _, err := p.backward([]batch.Micro{alone}, weight, smoothing, p.dropoutSeed(s.Index, i))
					return err
				})
				if err != nil {
					return fmt.Errorf("step %d, %s: %w", s.Index+1, p.describe([]int{row}), err)
				}
				if !ok {
					found = append(found, rowAt{i, r})
				}
			}
		}
		return nil
	}()
	all, err := p.lanes.rows(ctx, "rows whose gradient is not finite", found, err)
	if err != nil {
		return nil, err
	}
	broken := &notFinite{what: "gradient"}
	for _, at := range all {
		broken.rows = append(broken.rows, s.Micros[at.Micro].Rows[at.Row])
	}
	return broken, nil
}
