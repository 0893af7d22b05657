package selector

import (
	"context"
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/data"
)

// pool is the rows that may be selected. Methods that score rows one by one compute on its
// examples and return positions in Run.Train; methods that use the whole training set ask it
// which rows may be picked.
type pool struct {
	rows     []int // positions in Run.Train; nil: all, in order
	examples []data.Example
	train    int // rows of Run.Train
}

func poolOf(run *algo.Run, r algo.Request) pool {
	p := pool{rows: r.Pool, examples: run.Train, train: len(run.Train)}
	if r.Pool != nil {
		p.examples = make([]data.Example, len(r.Pool))
		for i, row := range r.Pool {
			p.examples[i] = run.Train[row]
		}
	}
	return p
}

// positions converts indices into the pool to positions in Run.Train.
func (p pool) positions(at []int) []int {
	if p.rows == nil {
		return at
	}
	out := make([]int, len(at))
	for i, j := range at {
		out[i] = p.rows[j]
	}
	return out
}

// spread expands scores of the pool to all rows of Run.Train; NaN outside the pool.
func (p pool) spread(score []float64) []float64 {
	if p.rows == nil {
		return score
	}
	out := make([]float64, p.train)
	for i := range out {
		out[i] = math.NaN()
	}
	for i, row := range p.rows {
		out[row] = score[i]
	}
	return out
}

// all lists the pool's rows.
func (p pool) all() []int {
	if p.rows != nil {
		return p.rows
	}
	out := make([]int, p.train)
	for i := range out {
		out[i] = i
	}
	return out
}

// mask reports for every row of Run.Train whether it is in the pool; nil if all are.
func (p pool) mask() []bool {
	if p.rows == nil {
		return nil
	}
	in := make([]bool, p.train)
	for _, row := range p.rows {
		in[row] = true
	}
	return in
}

// within sets the score of rows outside the pool to NaN.
func (p pool) within(score []float64) []float64 {
	in := p.mask()
	for i := range score {
		if in != nil && !in[i] {
			score[i] = math.NaN()
		}
	}
	return score
}

// losses is the mean token loss of every row of the pool.
func (p pool) losses(ctx context.Context, run *algo.Run, step int) ([]float64, error) {
	if run.Losses != nil {
		return run.Losses(ctx, p.all(), step, 0)
	}
	return feature.Losses(ctx, feature.Pass{Device: run.Device, Model: run.Model, Log: run.Log, Ranks: run.Ranks}, p.examples)
}
