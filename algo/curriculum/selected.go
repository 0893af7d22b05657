package curriculum

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/rng"
)

// Selected is dynamic_select: a random draw for warm-up, and windows chosen by a Selector.
type Selected struct {
	method
	chooser
	kept json.RawMessage // the selector's state, which only its choices change
}

func newSelected(ctx context.Context, r Run, component *config.Component) (*Selected, error) {
	selector, err := algo.BuildSelector(r.Run, component)
	if err != nil {
		return nil, err
	}
	s := &Selected{method: method{any: selector, component: component}, chooser: chooser{run: r, selector: selector, name: component.Name}}
	return s, s.prepare(ctx, r)
}

// Open draws rows or asks the selector for them, according to the schedule.
func (s *Selected) Open(ctx context.Context, step int) (Window, bool, error) {
	opening, update := s.run.Schedule.Opening(step)
	var rows []int
	var err error
	switch opening {
	case Continue:
		return Window{}, false, nil
	case Draw:
		rows = s.warmup(step)
	case Choose:
		rows, err = s.window(ctx, step, update)
		s.kept = nil
	}
	return Window{Start: step, Rows: rows}, err == nil, err
}

// warmup draws the rows of the steps before the first selection. Upstream draws with
// replacement from the component's seed, the same rows in every Flex epoch; faithful draws
// without replacement, new rows in every Flex epoch.
func (s *Selected) warmup(step int) []int {
	seed := uint64(42)
	if w, ok := s.selector.(algo.Warmer); ok {
		seed = w.WarmupSeed()
	}
	pool, n := len(s.run.Train), s.run.Schedule.Warmup*s.run.Schedule.PerStep
	if algo.Mode(s.component.Mode) == algo.Upstream {
		return rng.NewTorch(seed).Randint(0, pool, n)
	}
	return rng.NewTorch(seed + uint64(s.run.Schedule.FlexEpoch(step))).Randperm(pool)[:n]
}

// window asks the selector for a window's rows.
func (s *Selected) window(ctx context.Context, step, update int) ([]int, error) {
	started := time.Now()
	defer s.run.Journal.Phase("selecting")()
	r := algo.Request{Step: step, Update: update, N: s.run.Schedule.Update * s.run.Schedule.PerStep}
	var err error
	if r.Key, err = s.run.Key(r); err != nil {
		return nil, err
	}
	sel, reused, err := s.choose(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("selection at step %d: %w", step, err)
	}
	if len(sel.Indices) != r.N {
		return nil, fmt.Errorf("selection at step %d: %s returned %d rows for a window of %d", step, s.component.Name, len(sel.Indices), r.N)
	}
	s.warnEqual(step, sel.Score)
	return sel.Indices, s.run.Journal.Selected(r, sel, time.Since(started).Seconds(), reused)
}

// Weights leaves the loss unweighted.
func (s *Selected) Weights(context.Context, *Step) (Weights, error) {
	return Weights{How: s.reduction(algo.TokenMean)}, nil
}

// Observe passes the step to a selector that observes.
func (s *Selected) Observe(ctx context.Context, step *Step) error {
	if _, ok := s.selector.(algo.Observer); ok {
		s.kept = nil
	}
	return s.observe(ctx, step, reports(step, nil))
}

// State is the selector's state, serialised again only after it may have changed.
func (s *Selected) State() (raw json.RawMessage, err error) {
	if s.kept == nil {
		s.kept, err = s.state()
	}
	return s.kept, err
}

// Restore restores State.
func (s *Selected) Restore(raw json.RawMessage) error {
	s.kept = nil
	return s.restore(raw)
}
