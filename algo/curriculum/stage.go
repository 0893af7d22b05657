package curriculum

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/mixer"
	"dataflex.dev/dataflex/algo/reorder"
)

// stage is what all stages of a pipeline have: a method, and when it is called.
type stage struct {
	method
	*config.Stage
	last int // the step at which it was last asked; -1 before the first time
}

func newStage(s *config.Stage, m any) stage {
	return stage{method: method{any: m, component: s.Component}, Stage: s, last: -1}
}

// active reports whether the stage has begun at a step.
func (s *stage) active(step int) bool { return step >= s.WarmupStep }

// due reports whether the stage is to be asked at a step.
func (s *stage) due(step int) bool {
	return s.active(step) && (s.last < 0 || step-s.last >= s.Every)
}

// moment is the start of an interval, with the number of rows it needs.
type moment struct {
	step, update int
	n            int // rows
}

// selecting is the stage with a selector: it narrows the pool, or chooses the interval's rows.
type selecting struct {
	stage
	chooser
	selection algo.Selection // the last one, for the records
}

func newSelecting(ctx context.Context, r Run, s *config.Stage, b *board, cache string) (*selecting, error) {
	if cache != "" { // a cache belongs to a single stage
		s.Params.Replace("cache_dir", filepath.Join(cache, s.Family+"_"+s.Key))
	}
	own := *r.Run
	own.Losses = b.source(s.ScoreMaxAge)
	selector, err := algo.BuildSelector(&own, s.Component)
	if err != nil {
		return nil, err
	}
	out := &selecting{stage: newStage(s, selector), chooser: chooser{run: r, selector: selector, name: s.Component.Name}}
	if r.Outline {
		return out, nil
	}
	err = out.prepare(ctx, r)
	own.Questions = r.Questions
	return out, err
}

// ask calls the selector for n rows of a pool; nil = all rows.
func (s *selecting) ask(ctx context.Context, at moment, pool []int, n int) ([]int, error) {
	r := algo.Request{Step: at.step, Update: at.update, N: n, Pool: pool}
	var err error
	if r.Key, err = s.run.Key(r); err != nil {
		return nil, err
	}
	sel, _, err := s.choose(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("selector %s: %w", s.Key, err)
	}
	if len(sel.Indices) != n {
		return nil, fmt.Errorf("selector %s returned %d rows, wanted %d", s.Key, len(sel.Indices), n)
	}
	s.warnEqual(at.step, sel.Score)
	s.last, s.selection = at.step, sel
	if s.Draw {
		return sel.Indices, nil
	}
	return distinct(sel.Indices), nil
}

// distinct returns the distinct rows, in order of first occurrence.
func distinct(rows []int) (out []int) {
	seen := make(map[int]bool, len(rows))
	for _, r := range rows {
		if !seen[r] {
			seen[r] = true
			out = append(out, r)
		}
	}
	return out
}

// mixing is the stage that decides the shares of the domains.
type mixing struct {
	stage
	mixer   algo.Mixer
	inLoss  algo.DomainWeigher // nil unless the mixer sets weights in the loss
	domains []algo.Domain
	shares  []float64 // the last answer; before, the run's own, nil for none
	asked   int       // number of requests so far
	moved   int       // the step at which loss weights were last updated, in mode upstream; -1 before
	began   *mixingBegan
}

func newMixing(ctx context.Context, r Run, s *config.Stage) (*mixing, error) {
	m := &mixing{domains: r.Domains, moved: -1}
	var err error
	if m.mixer, err = algo.BuildMixer(r.Run, r.Domains, s.Component); err != nil {
		return nil, err
	}
	m.stage = newStage(s, m.mixer)
	if w, ok := m.mixer.(algo.DomainWeigher); ok {
		m.inLoss = w
	}
	if p, ok := m.mixer.(algo.Splitter); ok && !r.Outline {
		p.SetEval(r.MixerEval)
		m.domains = p.Domains()
	}
	if p := r.Config.Data.InitMixtureProportions; p != nil && algo.Mode(s.Mode) != algo.Upstream {
		m.shares = mixer.Normalised(p)
		if starts, ok := m.mixer.(algo.Starter); ok {
			if err := starts.SetInitial(m.shares); err != nil {
				return nil, r.Config.Errorf("init_mixture_proportions", "%w", err)
			}
		}
	}
	if r.Outline {
		return m, nil
	}
	return m, m.prepare(ctx, r)
}

// ask calls the mixer for the shares from this step on.
func (m *mixing) ask(ctx context.Context, r Run, step int) ([]float64, error) {
	started := time.Now()
	m.asked++
	got, err := m.mixer.Mix(ctx, algo.MixRequest{Step: step, Update: m.asked})
	if err != nil {
		return nil, fmt.Errorf("mixer %s: %w", m.Key, err)
	}
	m.last, m.shares = step, mixer.Normalised(got.Proportions)
	return m.shares, r.Journal.Mixed(step, m.asked, m.domains, m.shares, got.LossWeights, time.Since(started).Seconds())
}

// ordering is the stage that orders the pool.
type ordering struct {
	stage
	order  *reorder.Orderer
	pool   []int // the rows that are ordered; nil before there are any
	served int   // position in a static order
}

func newOrdering(r Run, s *config.Stage, b *board) (*ordering, error) {
	if s.Params.Given("apply_at") && s.Params.String("apply_at", "") == "raw" {
		return nil, s.Params.Wrap("apply_at", fmt.Errorf("raw orders all rows before training, but a stage of a pipeline orders the rows that the stages before it chose: leave it out, or set index"))
	}
	if algo.Mode(s.Mode) == algo.Upstream && s.Params.String("kind", "static") == "static" {
		s.Params.Replace("apply_at", "index")
	}
	own := *r.Run
	own.Losses = b.source(s.ScoreMaxAge)
	order, err := checkedOrder(r.Config, &own, s.Component, r.Column)
	if err != nil {
		return nil, err
	}
	return &ordering{stage: newStage(s, nil), order: order}, nil
}

// setPool sets the rows to order; the previous order is dropped.
func (o *ordering) setPool(rows []int) error {
	if len(rows) == 0 {
		return fmt.Errorf("reorder %s: there are no rows to order", o.Key)
	}
	o.pool, o.served = rows, 0
	return o.order.SetPool(rows)
}

// ahead returns the next n rows of a static order, which repeats without end.
func (o *ordering) ahead(ctx context.Context, n int) ([]int, error) {
	all, err := o.order.Static(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]int, n)
	for i := range out {
		out[i] = all[o.served%len(all)]
		o.served++
	}
	return out, nil
}

type orderingState struct {
	Pool   []int           `json:"pool"`
	Order  json.RawMessage `json:"order,omitempty"`
	Served int             `json:"served"`
}

func (o *ordering) orderState() (s orderingState, err error) {
	if o.pool == nil {
		return s, nil
	}
	s.Pool, s.Served = o.pool, o.served
	s.Order, err = o.order.State()
	return s, err
}

func (o *ordering) restoreOrder(s orderingState) error {
	o.pool, o.served = nil, 0
	if s.Pool == nil {
		return o.order.Restore(nil)
	}
	if err := o.setPool(s.Pool); err != nil {
		return err
	}
	o.served = s.Served
	return o.order.Restore(s.Order)
}

// weighing is a stage that weighs rows in the loss.
type weighing struct {
	stage
	weighter algo.Weighter
}

func newWeighing(ctx context.Context, r Run, s *config.Stage) (*weighing, error) {
	w, err := algo.BuildWeighter(r.Run, s.Component)
	if err != nil {
		return nil, err
	}
	out := &weighing{stage: newStage(s, w), weighter: w}
	if r.Outline {
		return out, nil
	}
	return out, out.prepare(ctx, r)
}
