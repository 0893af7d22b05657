package reorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/data/rng"
)

// Score is the current scores of rows; NaN for a row without one.
type Score func(ctx context.Context, rows []int, step int) ([]float64, error)

// Pass serves a pool of rows in a pattern whose scores are updated on the way. In faithful form
// it uses rank matching, so that the pass as a whole has the pattern; as upstream does (Head),
// it serves the head of the pattern of the remaining rows. A row is served once until all have
// been.
type Pass struct {
	Pattern Pattern
	Head    bool
	Every   int  // intervals after which scores are updated, at least 1
	Repeat  bool // Head: rows stay in the pool (consume_once: false)
	Score   Score

	pool  []int // all rows
	state passState
}

type passState struct {
	Left    []int           `json:"left"`    // rows of this pass that were not served yet
	Pending []int           `json:"pending"` // rows of the last order that were not served
	Calls   int             `json:"calls"`
	Last    map[int]float64 `json:"last,omitempty"` // the last score of a row
}

// NewPass starts a pass over the pool.
func NewPass(p Pass, pool []int) (*Pass, error) {
	if err := p.Pattern.Check(); err != nil {
		return nil, err
	}
	if len(pool) == 0 || p.Every < 1 {
		return nil, errors.New("reorder: a pass needs rows, and scores at every interval or less often")
	}
	p.pool = pool
	p.Reset()
	return &p, nil
}

// Reset returns to the beginning.
func (p *Pass) Reset() { p.state = passState{Left: slices.Clone(p.pool), Last: map[int]float64{}} }

// Warmup draws n rows before there are scores and removes them from the pass; if the pass ends
// before, the rest come from the next one.
func (p *Pass) Warmup(n int) ([]int, error) {
	var out []int
	for len(out) < n {
		if len(p.state.Left) == 0 {
			p.state.Left = slices.Clone(p.pool)
		}
		at, err := rng.NewPCG64(p.Pattern.Seed).Choice(len(p.state.Left), min(n-len(out), len(p.state.Left)), false, nil)
		if err != nil {
			return nil, err
		}
		drawn := make([]int, len(at))
		for i, j := range at {
			drawn[i] = p.state.Left[j]
		}
		p.serve(drawn)
		out = append(out, drawn...)
	}
	return out, nil
}

// Ahead is the next n rows of the last order; ok is false where fewer are left.
func (p *Pass) Ahead(n int) (rows []int, ok bool) {
	if len(p.state.Pending) < n {
		return nil, false
	}
	rows = slices.Clone(p.state.Pending[:n])
	p.state.Pending = p.state.Pending[n:]
	p.serve(rows)
	return rows, true
}

// Next is the next n rows in the order of training.
func (p *Pass) Next(ctx context.Context, step, n int) ([]int, error) {
	p.state.Calls++
	if (p.state.Calls-1)%p.Every != 0 {
		if out, ok := p.Ahead(n); ok {
			return out, nil
		}
	}
	var out []int
	for len(out) < n {
		if len(p.state.Left) == 0 {
			p.state.Left = slices.Clone(p.pool)
		}
		order, err := p.order(ctx, step)
		if err != nil {
			return nil, err
		}
		k := min(n-len(out), len(order))
		out, p.state.Pending = append(out, order[:k]...), order[k:]
		p.serve(order[:k])
		if p.Head && p.Repeat && k == len(order) && len(out) < n {
			return nil, fmt.Errorf("reorder: %d rows of a pool of %d", n, len(order))
		}
	}
	return out, nil
}

// order is the remaining rows, in the pattern.
func (p *Pass) order(ctx context.Context, step int) ([]int, error) {
	rows := p.state.Left
	scores, err := p.Score(ctx, rows, step)
	if err != nil {
		return nil, err
	}
	if len(scores) != len(rows) {
		return nil, fmt.Errorf("reorder: %d scores for %d rows", len(scores), len(rows))
	}
	if scores, err = p.filled(rows, scores); err != nil {
		return nil, err
	}
	if !p.Head {
		return p.Pattern.Match(len(p.pool), rows, scores), nil
	}
	out := p.Pattern.Order(scores)
	for i, j := range out {
		out[i] = rows[j]
	}
	return out, nil
}

// filled replaces missing scores by the row's last one, else by the median of the others.
func (p *Pass) filled(rows []int, scores []float64) ([]float64, error) {
	out, err := fillMedian(scores)
	if err != nil {
		return nil, err
	}
	for i, x := range scores {
		if finite(x) {
			p.state.Last[rows[i]] = x
		} else if last, ok := p.state.Last[rows[i]]; ok && !p.Head {
			out[i] = last
		}
	}
	return out, nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// Median is the median of the finite numbers of x; ok is false where there are none.
func Median(x []float64) (median float64, ok bool) {
	var known []float64
	for _, v := range x {
		if finite(v) {
			known = append(known, v)
		}
	}
	if len(known) == 0 {
		return 0, false
	}
	slices.Sort(known)
	return (known[(len(known)-1)/2] + known[len(known)/2]) / 2, true
}

// fillMedian replaces missing scores by the median of the others.
func fillMedian(scores []float64) ([]float64, error) {
	median, ok := Median(scores)
	if !ok {
		return nil, errors.New("reorder: no row has a score")
	}
	out := slices.Clone(scores)
	for i, x := range out {
		if !finite(x) {
			out[i] = median
		}
	}
	return out, nil
}

// serve removes rows from the pass.
func (p *Pass) serve(rows []int) {
	if p.Repeat {
		return
	}
	served := make(map[int]bool, len(rows))
	for _, r := range rows {
		served[r] = true
	}
	p.state.Left = slices.DeleteFunc(slices.Clone(p.state.Left), func(r int) bool { return served[r] })
}

// State is the rest of the pass.
func (p *Pass) State() (json.RawMessage, error) { return json.Marshal(p.state) }

// Restore restores State.
func (p *Pass) Restore(raw json.RawMessage) error {
	var s passState
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	known := make(map[int]bool, len(p.pool))
	for _, r := range p.pool {
		known[r] = true
	}
	for _, r := range slices.Concat(s.Left, s.Pending) {
		if !known[r] {
			return fmt.Errorf("row %d of the checkpoint's order is not in the pool", r)
		}
	}
	if s.Last == nil {
		s.Last = map[int]float64{}
	}
	p.state = s
	return nil
}
