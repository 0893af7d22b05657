package weighter

import (
	"context"
	"fmt"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/program"
	"dataflex.dev/dataflex/algo/ranks"
)

func init() { algo.RegisterWeighter("custom", newCustom) }

// custom calls the user's program at every optimizer step, with one JSON line in each direction
// (see package program):
//
//	{"step":4,"total":12,"strategy":"mine","rows":[{"index":7,"dataset":"d","row":7,"micro_batch":0,"labels":31,"loss":1.2},…]}
//	{"weights":[0.5,…]}
//
// index is the row's position in the training set, labels the number of its labelled tokens,
// loss their mean (null without any). The answer is one finite weight >= 0 per row, in the same
// order, not all 0. faithful scales them to mean 1 over the step; upstream uses them unchanged
// for a sum of w times the rows' mean losses, divided by the number of micro-batches. Without
// `command` all rows have the same weight, as in upstream's example.
type custom struct {
	run      *algo.Run
	mode     algo.Mode
	strategy string
	program  *program.Program // nil without a command
}

func newCustom(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Weighter, error) {
	w := &custom{run: run, mode: mode, strategy: p.String("strategy", "uniform")}
	var err error
	if w.program, err = program.FromParams(p, run.Log); err != nil {
		return nil, err
	}
	switch {
	case w.program != nil:
	case w.strategy != "uniform" && mode == algo.Faithful:
		return nil, p.Wrap("strategy", fmt.Errorf("without a `command` only uniform is available, not %q", w.strategy))
	default:
		run.Log.Info("weighter custom has no `command`: all rows have the same weight, as in upstream's example")
	}
	return w, nil
}

type customRow struct {
	Index   int      `json:"index"`
	Dataset string   `json:"dataset"`
	Row     int      `json:"row"`
	Micro   int      `json:"micro_batch"`
	Labels  int      `json:"labels"`
	Loss    *float64 `json:"loss"`
}

type customRequest struct {
	Step     int         `json:"step"`
	Total    int         `json:"total"`
	Strategy string      `json:"strategy"`
	Rows     []customRow `json:"rows"`
}

type customAnswer struct {
	Weights []float64 `json:"weights"`
}

// Weigh calls the program.
func (w *custom) Weigh(ctx context.Context, r algo.WeightRequest) ([][]float64, algo.Reduction, error) {
	nameBroken(w.run.Log, w.run.Train, r)
	weights, err := w.weights(ctx, r)
	if err != nil {
		return nil, 0, fmt.Errorf("weighter custom at step %d: %w", r.Step, err)
	}
	if w.mode == algo.Faithful {
		return scaled(r, weights), algo.TokenMean, nil
	}
	for i := range weights {
		for j := range weights[i] {
			weights[i][j] /= float64(len(r.Micros))
			if !finite(lossOf(r, i, j)) {
				weights[i][j] = 0
			}
		}
	}
	return weights, algo.RowSum, nil
}

func (w *custom) weights(ctx context.Context, r algo.WeightRequest) ([][]float64, error) {
	if w.program == nil {
		return w.alike(r), nil
	}
	q := customRequest{Step: r.Step, Total: r.Total, Strategy: w.strategy}
	for i, m := range r.Micros {
		for j, row := range m.Rows {
			id := w.run.Train[row].ID
			c := customRow{Index: row, Dataset: id.Dataset, Row: id.Row, Micro: i, Labels: m.Labelled[j]}
			if l := r.Loss[i][j]; finite(l) {
				c.Loss = &l
			}
			q.Rows = append(q.Rows, c)
		}
	}
	a, err := ranks.Decided(ctx, w.run.Ranks, "weighter custom", func(ctx context.Context) (a customAnswer, err error) {
		return a, w.program.Ask(ctx, q, &a)
	})
	if err != nil {
		return nil, err
	}
	return w.split(r, a.Weights, len(q.Rows))
}

// alike is upstream's example: the mean of every micro-batch.
func (w *custom) alike(r algo.WeightRequest) [][]float64 {
	out := ones(r)
	if w.mode == algo.Upstream {
		for _, m := range out {
			for j := range m {
				m[j] /= float64(len(m))
			}
		}
	}
	return out
}

// split checks an answer and splits it by micro-batch.
func (w *custom) split(r algo.WeightRequest, weights []float64, rows int) ([][]float64, error) {
	if len(weights) != rows {
		return nil, fmt.Errorf("the program returned %d weights for %d rows", len(weights), rows)
	}
	var sum float64
	for i, x := range weights {
		if !finite(x) || x < 0 {
			return nil, fmt.Errorf("the program's weight of row %d is %v: a weight is a number >= 0", i, x)
		}
		sum += x
	}
	if sum == 0 {
		return nil, fmt.Errorf("the program's weights are all 0")
	}
	out := perMicro(r)
	for i := range out {
		copy(out[i], weights)
		weights = weights[len(out[i]):]
	}
	return out, nil
}

// Finish ends the program.
func (w *custom) Finish() error {
	if w.program != nil {
		w.program.Close()
	}
	return nil
}
