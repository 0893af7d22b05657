package curriculum

import (
	"context"
	"encoding/json"
	"fmt"

	"dataflex.dev/dataflex/data/rng"
)

// stream plans in mode faithful. When a selector or a mixer is due, its decision holds for the
// whole period until the next one is due: intervals take rows from those that the selector
// chose, in the mixer's shares; where there is a reorder, the rows of the whole period are
// decided and put into its order, and intervals advance through it. A row is not taken again
// before the pool, the selector's choice or all rows, is exhausted.
type stream struct {
	*pipeline
	seed   uint64
	random *rng.PCG64
	served rowSet // in the current round of the pool
	chosen []int  // the selector's last choice; nil = all rows
	rows   []int  // decided but not served yet
}

func newStream(p *pipeline, seed uint64) *stream {
	s := &stream{pipeline: p, seed: seed}
	s.begin()
	return s
}

func (s *stream) begin() {
	s.random, s.served = rng.NewPCG64(s.seed), newRowSet(len(s.run.Train))
	s.chosen, s.rows = nil, nil
}

// warmup returns the rows before the first decision: a random draw, in the run's own
// proportions if there is a mixer; or the beginning of an order that needs no trained model and
// has no stage before it.
func (s *stream) warmup(ctx context.Context, at moment) ([]int, error) {
	if s.startsOrdered() {
		return s.next(ctx, at)
	}
	var out []int
	for len(out) < at.n {
		rows, err := s.draw(s.pipeline.rows, at.n-len(out))
		if err != nil {
			return nil, err
		}
		s.served.add(rows)
		out = append(out, rows...)
	}
	s.rows = s.served.without(s.rows)
	if o := s.ordering; o != nil && o.pool != nil && len(s.rows) > 0 {
		return out, o.setPool(s.rows)
	}
	return out, nil
}

// startsOrdered reports whether the warm-up follows the order, too.
func (s *stream) startsOrdered() bool {
	o := s.ordering
	return o != nil && !o.order.Dynamic() && s.selecting == nil && s.mixing == nil && o.active(0)
}

// next returns the rows of an interval.
func (s *stream) next(ctx context.Context, at moment) ([]int, error) {
	if s.planned(at.step) {
		if err := s.plan(ctx, at); err != nil {
			return nil, err
		}
	}
	var out []int
	for len(out) < at.n {
		if len(s.rows) == 0 {
			if err := s.plan(ctx, at); err != nil {
				return nil, err
			}
		}
		rows, err := s.take(ctx, at, min(at.n-len(out), len(s.rows)))
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
	}
	if o := s.ordering; o != nil && o.due(at.step) {
		o.last = at.step
	}
	return out, nil
}

// planned reports whether a selector or a mixer is due.
func (s *stream) planned(step int) bool {
	return s.selecting != nil && s.selecting.due(step) || s.draws() && s.mixing.due(step)
}

// draws reports whether the mixer decides how many rows are drawn from each domain.
func (s *stream) draws() bool { return s.mixing != nil && s.mixing.inLoss == nil }

// plan decides the rows until a selector or a mixer is due again, or without an order those of
// a single interval.
func (s *stream) plan(ctx context.Context, at moment) (err error) {
	if s.selecting != nil && s.selecting.due(at.step) {
		if err := s.selectRows(ctx, at); err != nil {
			return err
		}
		if s.selecting.Draw {
			s.rows = s.chosen
			return nil
		}
	}
	if s.draws() && s.mixing.due(at.step) {
		if _, err := s.mixing.ask(ctx, s.run, at.step); err != nil {
			return err
		}
	}
	pool := s.pipeline.rows
	if s.chosen != nil {
		pool = s.chosen
	}
	o := s.ordering
	if o == nil || !o.active(at.step) { // the shares hold within every interval
		s.rows, err = s.draw(pool, at.n)
		return err
	}
	if s.rows, err = s.draw(pool, s.until(at.step, s.planned)); err != nil {
		return err
	}
	return o.setPool(s.rows)
}

// selectRows calls the selector for its share of the rows not yet taken in this round of the
// pool, or for fewer if fewer are needed; if too few rows are left it chooses among all rows.
func (s *stream) selectRows(ctx context.Context, at moment) (err error) {
	sel := s.selecting
	sel.last = at.step
	wanted := s.until(at.step, sel.due)
	if sel.Draw { // rows may be chosen again, as in a run with this selector alone
		s.chosen, err = sel.ask(ctx, at, s.whole(s.pipeline.rows), wanted)
		return err
	}
	all := s.pipeline.rows
	share := func(rows []int) int { return max(1, int(float64(len(rows))*sel.KeepRatio)) }
	wanted = min(wanted, share(all))
	pool := s.served.without(all)
	if len(pool) < wanted {
		s.served.remove(all)
		pool = all
	}
	s.chosen, err = sel.ask(ctx, at, s.whole(pool), max(share(pool), wanted))
	return err
}

// until returns the number of rows of the intervals from a step to the one at which due returns
// true, or to the end of the run.
func (s *stream) until(step int, due func(step int) bool) (rows int) {
	plan := s.run.Schedule
	for t := step; t < plan.Total; t++ {
		switch opening, _ := plan.Opening(t); {
		case opening == Draw && s.startsOrdered():
			rows += plan.Warmup * plan.PerStep
		case opening != Choose:
		case t > step && due(t):
			return rows
		default:
			rows += plan.Update * plan.PerStep
		}
	}
	return max(rows, plan.Update*plan.PerStep)
}

// draw draws n rows of a pool that were not taken in this round, in random order, in the
// mixer's shares if there is one. It returns fewer where the pool, or a domain, has fewer.
func (s *stream) draw(pool []int, n int) ([]int, error) {
	left := s.served.without(pool)
	if len(left) == 0 {
		s.served.remove(pool)
		left = pool
	}
	n = min(n, len(left))
	if !s.draws() || s.mixing.shares == nil {
		return choose(s.random, left, n)
	}
	n = min(n, reshaped(left, s.domain, s.mixing.shares, s.run.Schedule.Update*s.run.Schedule.PerStep))
	rows, err := draw(s.random, left, s.domain, s.mixing.shares, n, s.mixing.AllowReplacement)
	if err != nil {
		return nil, err
	}
	out := make([]int, len(rows))
	for i, j := range s.random.Permutation(len(rows)) {
		out[i] = rows[j]
	}
	return out, nil
}

// take serves the next n of the decided rows.
func (s *stream) take(ctx context.Context, at moment, n int) (rows []int, err error) {
	o := s.ordering
	switch {
	case o == nil || o.pool == nil || !o.active(at.step):
		rows, s.rows = s.rows[:n:n], s.rows[n:]
		s.served.add(rows)
		return rows, nil
	case !o.order.Dynamic():
		rows, err = o.ahead(ctx, n)
	default:
		rows, err = s.ordered(ctx, at, n)
	}
	if err != nil {
		return nil, fmt.Errorf("reorder %s: %w", o.Key, err)
	}
	s.served.add(rows)
	s.rows = s.served.without(s.rows)
	return rows, nil
}

// ordered returns the next rows of an order that follows scores: with new scores if the stage
// is due, otherwise the continuation of the last order.
func (s *stream) ordered(ctx context.Context, at moment, n int) ([]int, error) {
	if !s.ordering.due(at.step) {
		if rows, ok := s.ordering.order.Ahead(n); ok {
			return rows, nil
		}
	}
	return s.ordering.order.Next(ctx, at.step, n)
}

type streamState struct {
	Random []byte `json:"random"`
	Served []byte `json:"served"`
	Chosen []int  `json:"chosen,omitempty"`
	Rows   []int  `json:"rows,omitempty"`
}

func (s *stream) state() (json.RawMessage, error) {
	return json.Marshal(streamState{s.random.State(), s.served.pack(), s.chosen, s.rows})
}

func (s *stream) restore(raw json.RawMessage) error {
	s.begin()
	if raw == nil {
		return nil
	}
	var st streamState
	if err := json.Unmarshal(raw, &st); err != nil {
		return err
	}
	s.chosen, s.rows = st.Chosen, st.Rows
	if err := s.random.SetState(st.Random); err != nil {
		return err
	}
	return s.served.unpack(st.Served)
}
