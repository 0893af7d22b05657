package curriculum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/data/storage"
)

// Selected is dynamic_select: warm-up draws, and windows that a Selector chooses.
type Selected struct {
	method
	run      Run
	selector algo.Selector
	kept     json.RawMessage // the selector's state, which only its choices change
}

func newSelected(ctx context.Context, r Run, component *config.Component) (*Selected, error) {
	selector, err := algo.BuildSelector(r.Run, component)
	if err != nil {
		return nil, err
	}
	s := &Selected{method: method{any: selector, component: component}, run: r, selector: selector}
	return s, s.settle(ctx, r)
}

// Selector is the method by itself, for scoring without training.
func (s *Selected) Selector() algo.Selector { return s.selector }

// Open draws rows or asks the selector for them, where the schedule says so.
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
		rows, err = s.choose(ctx, step, update)
		s.kept = nil
	}
	return Window{Start: step, Rows: rows}, err == nil, err
}

// warmup draws the rows of the steps before the first selection. Upstream draws
// with replacement from the component's seed, the same rows in every Flex epoch;
// faithful without, anew in every Flex epoch.
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

// choose asks the selector for a window's rows, or takes the choice that an
// earlier run made under the very same conditions.
func (s *Selected) choose(ctx context.Context, step, update int) ([]int, error) {
	started := time.Now()
	defer s.run.Journal.Phase("selecting")()
	r := algo.Request{Step: step, Update: update, N: s.run.Schedule.Update * s.run.Schedule.PerStep}
	var err error
	if r.Key, err = s.run.Key(r); err != nil {
		return nil, err
	}
	sel, reused, err := s.cachedOrSelect(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("selection at step %d: %w", step, err)
	}
	if len(sel.Indices) != r.N {
		return nil, fmt.Errorf("selection at step %d: %s gave %d rows for a window of %d", step, s.component.Name, len(sel.Indices), r.N)
	}
	if v, n := sameScore(sel.Score); n > 1 {
		s.run.Log.Warn("every row has the same score: it says nothing about the rows, and the choice is one of many equal ones", "step", step, "selector", s.component.Name, "score", v, "rows", n)
	}
	return sel.Indices, s.run.Journal.Selected(r, sel, time.Since(started).Seconds(), reused)
}

// sameScore is the one score that n rows have; n is 0 where they differ.
func sameScore(score []float64) (v float64, n int) {
	v = math.NaN()
	for _, s := range score {
		switch {
		case math.IsNaN(s): // a row without a score
			continue
		case n > 0 && s != v:
			return v, 0
		}
		v = s
		n++
	}
	return v, n
}

// cachedOrSelect takes the selection from cache_dir or makes it and keeps it there. Of
// several runs that want the same one, one makes it and the others wait.
func (s *Selected) cachedOrSelect(ctx context.Context, r algo.Request) (sel algo.Selection, reused bool, err error) {
	rec, ok := s.selector.(algo.Recorder)
	if !ok || rec.CacheDir() == "" {
		sel, err = s.selector.Select(ctx, r)
		return sel, false, err
	}
	lock, err := s.Lock(ctx, r)
	if err != nil {
		return sel, false, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if rec.Reuse() {
		if sel, ok, err = s.cached(rec.CacheDir(), r); ok || err != nil {
			return sel, ok, err
		}
	}
	if sel, err = s.selector.Select(ctx, r); err != nil || len(sel.Indices) != r.N {
		return sel, false, err
	}
	return sel, false, report.WriteStepFile(rec.CacheDir(), r.Step, report.StepFile{Indices: sel.Indices, Metric: sel.Metric, Facts: sel.Facts, Key: r.Key})
}

// Lock takes the lock of what is computed under a request's key in the selector's
// cache_dir; nil where it has none.
func (s *Selected) Lock(ctx context.Context, r algo.Request) (*storage.Lock, error) {
	rec, ok := s.selector.(algo.Recorder)
	if !ok || rec.CacheDir() == "" {
		return nil, nil
	}
	return report.LockSelection(ctx, rec.CacheDir(), r.Key, func(h *storage.Held) {
		s.run.Log.Info("another run is making the same selection: waiting for it", "step", r.Step, "pid", h.Owner.PID, "host", h.Owner.Host)
	})
}

// cached is a selection that was made before under the same key.
func (s *Selected) cached(dir string, r algo.Request) (sel algo.Selection, ok bool, err error) {
	f, ok, err := report.ReadStepFile(dir, r.Key, len(s.run.Train))
	if err != nil {
		s.run.Log.Warn("a selection in cache_dir cannot be used and is made anew: " + err.Error())
		return sel, false, nil
	}
	if !ok {
		return sel, false, nil
	}
	s.run.Log.Info("the selection was made before under the same conditions: taken from disk", "step", r.Step, "cache_dir", dir)
	return algo.Selection{Indices: f.Indices, Metric: f.Metric, Facts: f.Facts}, true, f.WriteUpstream(dir, r.Step)
}

// Weights leaves the rows alone.
func (s *Selected) Weights(context.Context, *Step) (Weights, error) {
	return Weights{How: s.reduction(algo.TokenMean)}, nil
}

// Observe tells a selector that wants to know.
func (s *Selected) Observe(ctx context.Context, step *Step) error {
	if _, ok := s.selector.(algo.Observer); ok {
		s.kept = nil
	}
	return s.observe(ctx, step, reports(step, nil))
}

// State is the selector's, made anew only after what may have changed it.
func (s *Selected) State() (raw json.RawMessage, err error) {
	if s.kept == nil {
		s.kept, err = s.state()
	}
	return s.kept, err
}

// Restore takes State back.
func (s *Selected) Restore(raw json.RawMessage) error {
	s.kept = nil
	return s.restore(raw)
}
