package curriculum

import (
	"context"
	"encoding/json"
	"slices"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/rng"
)

// intervals plans as DataFlex 1.1 does: at the start of an interval the first stage that is
// due, and all stages after it, work on the last output of the stage before; where none is due
// the previous plan is trained on again. Its draws depend only on the step.
type intervals struct {
	*pipeline
	plan  []int
	again bool     // the plan is that of the previous interval
	out   [3][]int // last outputs of the selector, the mixer and the reorder; nil before
}

func newIntervals(p *pipeline) *intervals { return &intervals{pipeline: p} }

// apply is a stage and the function that applies it to a pool.
type apply struct {
	stage *stage
	do    func(ctx context.Context, at moment, pool []int) ([]int, error)
}

// chain lists the planning stages; nil for a stage that the pipeline lacks.
func (v *intervals) chain() [3]apply {
	var c [3]apply
	if v.selecting != nil {
		c[0] = apply{&v.selecting.stage, v.selectRows}
	}
	if v.mixing != nil {
		c[1] = apply{&v.mixing.stage, v.mixRows}
	}
	if v.ordering != nil {
		c[2] = apply{&v.ordering.stage, v.orderRows}
	}
	return c
}

// next plans an interval. Without a planning stage, or with a selector that only narrows the
// pool, its rows are a uniform draw, which is made anew for every interval.
func (v *intervals) next(ctx context.Context, at moment) ([]int, error) {
	chain := v.chain()
	first := slices.IndexFunc(chain[:], func(a apply) bool { return a.stage != nil && a.stage.due(at.step) })
	uniform := v.ordering == nil && v.mixing == nil && (v.selecting == nil || !v.selecting.Draw)
	if v.again = first < 0 && v.plan != nil && !uniform; v.again {
		return v.plan, nil
	}
	pool, start := v.before(chain, first), max(first, 0)
	if first < 0 && uniform && v.selecting != nil && v.out[0] != nil {
		pool, start = v.out[0], len(chain)
	}
	pool, ordered, err := v.applyFrom(ctx, at, chain, start, pool)
	if err != nil {
		return nil, err
	}
	if uniform {
		pool, err = choose(rng.NewPCG64(uint64(at.step)+999), pool, at.n)
	} else {
		pool, err = v.cut(at, pool, ordered)
	}
	v.plan = pool
	return pool, err
}

// before returns the last output of the stage before stage number first: all rows if there is
// none.
func (v *intervals) before(chain [3]apply, first int) []int {
	for i := first - 1; i >= 0; i-- {
		if chain[i].stage != nil {
			if v.out[i] != nil {
				return v.out[i]
			}
			break
		}
	}
	return v.rows
}

// applyFrom applies the stages from number start on to a pool, and keeps their outputs. ordered
// reports whether a reorder was among them.
func (v *intervals) applyFrom(ctx context.Context, at moment, chain [3]apply, start int, pool []int) (_ []int, ordered bool, err error) {
	for i := start; i < len(chain); i++ {
		a := chain[i]
		if a.stage == nil {
			continue
		}
		if a.stage.active(at.step) {
			if pool, err = a.do(ctx, at, pool); err != nil {
				return nil, false, err
			}
			a.stage.last = at.step
			ordered = ordered || a.stage.Family == config.ReorderStage
		}
		v.out[i] = pool
	}
	return pool, ordered, nil
}

func (v *intervals) selectRows(ctx context.Context, at moment, pool []int) ([]int, error) {
	n := at.n
	if !v.selecting.Draw {
		n = max(1, int(float64(len(pool))*v.selecting.KeepRatio))
	}
	return v.selecting.ask(ctx, at, v.whole(pool), n)
}

func (v *intervals) mixRows(ctx context.Context, at moment, pool []int) ([]int, error) {
	m := v.mixing
	if m.inLoss != nil {
		return pool, nil
	}
	shares, err := m.ask(ctx, v.run, at.step)
	if err != nil {
		return nil, err
	}
	n := at.n
	if v.ordering != nil {
		n = reshaped(pool, v.domain, shares, at.n)
	}
	return draw(rng.NewPCG64(uint64(at.step)+12345), pool, v.domain, shares, n, m.AllowReplacement)
}

func (v *intervals) orderRows(ctx context.Context, at moment, pool []int) ([]int, error) {
	if err := v.offer(pool); err != nil {
		return nil, err
	}
	n := at.n
	if len(pool) > 0 {
		n = min(n, len(pool))
	}
	if !v.ordering.order.Dynamic() {
		return v.ordering.ahead(ctx, n)
	}
	return v.ordering.order.Next(ctx, at.step, n)
}

// offer gives the order a pool; if it is a different one, the order starts from its beginning.
func (v *intervals) offer(pool []int) error {
	if v.ordering.pool != nil && slices.Equal(v.ordering.pool, pool) {
		return nil
	}
	return v.ordering.setPool(pool)
}

// cut makes a plan as long as the interval: the head of an order, or a draw from unordered
// rows, repeated where there are too few.
func (v *intervals) cut(at moment, plan []int, ordered bool) ([]int, error) {
	switch {
	case len(plan) == at.n:
		return plan, nil
	case len(plan) > at.n && ordered:
		return plan[:at.n], nil
	case len(plan) > at.n:
		return choose(rng.NewPCG64(uint64(at.step)+4242), plan, at.n)
	case len(plan) == 0:
		return rng.NewPCG64(uint64(at.step)).Choice(max(1, len(v.run.Train)), at.n, true, nil)
	}
	out := make([]int, at.n)
	for i := range out {
		out[i] = plan[i%len(plan)]
	}
	return out, nil
}

func (v *intervals) warmup(ctx context.Context, at moment) ([]int, error) {
	if v.ordering == nil {
		return choose(rng.NewPCG64(42), v.rows, at.n)
	}
	if err := v.offer(v.rows); err != nil {
		return nil, err
	}
	if !v.ordering.order.Dynamic() {
		return v.ordering.ahead(ctx, at.n)
	}
	rows, err := v.ordering.order.WarmupLeft(at.n)
	switch {
	case err != nil:
		return nil, err
	case len(rows) == 0: // the pass has just ended
		return choose(rng.NewPCG64(42), v.rows, at.n)
	}
	return v.cut(at, rows, true)
}

type intervalState struct {
	Plan []int    `json:"plan"`
	Out  [3][]int `json:"out"`
}

func (v *intervals) state() (json.RawMessage, error) {
	return json.Marshal(intervalState{v.plan, v.out})
}

func (v *intervals) restore(raw json.RawMessage) error {
	v.plan, v.out = nil, [3][]int{}
	if raw == nil {
		return nil
	}
	var s intervalState
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	v.plan, v.out = s.Plan, s.Out
	return nil
}
