package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/data/storage"
)

// openWindow gives the coming step its rows, where the plan says so. A window that
// a checkpoint already holds is not opened again.
func (t *Trainer) openWindow(ctx context.Context) error {
	opening, update := t.Plan.Opening(t.step)
	if opening == Continue || t.sampler.window.Start == t.step {
		return nil
	}
	var indices []int
	var err error
	switch {
	case opening == Draw && t.mix != nil:
		indices, err = t.openMixture()
	case opening == Draw:
		indices = t.warmup()
	case t.mix != nil:
		indices, err = t.remix(ctx, update)
	default:
		indices, err = t.choose(ctx, update)
	}
	if err != nil {
		return err
	}
	t.sampler.open(Window{Start: t.step, Indices: indices})
	return nil
}

// warmup draws the rows of the steps before the first selection. Upstream draws
// with replacement from the component's seed, the same rows in every Flex epoch;
// faithful without, anew in every Flex epoch.
func (t *Trainer) warmup() []int {
	seed := uint64(42)
	if w, ok := t.selector.(algo.Warmer); ok {
		seed = w.WarmupSeed()
	}
	n := t.Plan.Warmup * t.Plan.Batch()
	if algo.Mode(t.component.Mode) == algo.Upstream {
		return rng.NewTorch(seed).Randint(0, t.Plan.Rows, n)
	}
	return rng.NewTorch(seed + uint64(t.Plan.FlexEpoch(t.step))).Randperm(t.Plan.Rows)[:n]
}

// choose asks the selector for a window's rows, or takes the choice that an
// earlier run made under the very same conditions.
func (t *Trainer) choose(ctx context.Context, update int) ([]int, error) {
	started := time.Now()
	defer t.recorder.page.Phase("selecting")()
	request := algo.Request{Step: t.step, Update: update, N: t.Plan.Update * t.Plan.Batch()}
	var err error
	if request.Key, err = t.selectionKey(request); err != nil {
		return nil, err
	}
	sel, reused, err := t.cachedOrSelect(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("selection at step %d: %w", t.step, err)
	}
	if len(sel.Indices) != request.N {
		return nil, fmt.Errorf("selection at step %d: %s gave %d rows for a window of %d", t.step, t.component.Name, len(sel.Indices), request.N)
	}
	seconds := time.Since(started).Seconds()
	t.totals.Selecting += seconds
	t.totals.Selections++
	return sel.Indices, t.recorder.selection(t, request, sel, seconds, reused)
}

// cachedOrSelect takes the selection from cache_dir or makes it and keeps it there. Of
// several runs that want the same one, one makes it and the others wait.
func (t *Trainer) cachedOrSelect(ctx context.Context, r algo.Request) (sel algo.Selection, reused bool, err error) {
	rec, ok := t.selector.(algo.Recorder)
	if !ok || rec.CacheDir() == "" {
		sel, err = t.selector.Select(ctx, r)
		return sel, false, err
	}
	lock, err := t.selecting(ctx, rec.CacheDir(), r)
	if err != nil {
		return sel, false, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if rec.Reuse() {
		if sel, ok, err = t.cached(rec.CacheDir(), r); ok || err != nil {
			return sel, ok, err
		}
	}
	if sel, err = t.selector.Select(ctx, r); err != nil || len(sel.Indices) != r.N {
		return sel, false, err
	}
	return sel, false, report.WriteStepFile(rec.CacheDir(), r.Step, report.StepFile{Indices: sel.Indices, Metric: sel.Metric, Facts: sel.Facts, Key: r.Key})
}

// selecting takes the lock of what is computed under a request's key in a cache_dir.
func (t *Trainer) selecting(ctx context.Context, dir string, r algo.Request) (*storage.Lock, error) {
	return report.LockSelection(ctx, dir, r.Key, func(h *storage.Held) {
		t.log.Info("another run is making the same selection: waiting for it", "step", r.Step, "pid", h.Owner.PID, "host", h.Owner.Host)
	})
}

// cached is a selection that was made before under the same key.
func (t *Trainer) cached(dir string, r algo.Request) (sel algo.Selection, ok bool, err error) {
	f, ok, err := report.ReadStepFile(dir, r.Key, t.Plan.Rows)
	if err != nil {
		t.log.Warn("a selection in cache_dir cannot be used and is made anew: " + err.Error())
		return sel, false, nil
	}
	if !ok {
		return sel, false, nil
	}
	t.log.Info("the selection was made before under the same conditions: taken from disk", "step", r.Step, "cache_dir", dir)
	return algo.Selection{Indices: f.Indices, Metric: f.Metric, Facts: f.Facts}, true, f.WriteUpstream(dir, r.Step)
}

// selectionFields is what a selection adds to the logs.
func selectionFields(sel algo.Selection, seconds float64) pyjson.Object {
	perSecond := 0.0
	if sel.Scored > 0 {
		perSecond = float64(sel.Scored) / math.Max(seconds, 1e-9)
	}
	return pyjson.Object{
		{Key: "selection_runtime", Value: report.Round(seconds, 4)},
		{Key: "selection_samples_per_second", Value: report.Round(perSecond, 3)},
	}
}
