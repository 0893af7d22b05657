package train

import (
	"context"
	"fmt"
	"math"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/rng"
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
	if !reused {
		if err := t.recordStepFile(request, sel); err != nil {
			return nil, err
		}
	}
	return sel.Indices, t.recorder.selection(t, request, sel, seconds, reused)
}

func (t *Trainer) cachedOrSelect(ctx context.Context, r algo.Request) (sel algo.Selection, reused bool, err error) {
	if rec, ok := t.selector.(algo.Recorder); ok && rec.Reuse() && rec.CacheDir() != "" {
		f, ok, other := report.ReadStepFile(rec.CacheDir(), r.Step, r.Key)
		switch {
		case ok:
			t.log.Info("the selection was made before under the same conditions: taken from disk", "step", r.Step, "cache_dir", rec.CacheDir())
			return algo.Selection{Indices: f.Indices, Metric: f.Metric, Facts: f.Facts}, true, nil
		case other:
			t.log.Info("cache_dir holds a selection of another run for this step: it is made anew and replaced", "step", r.Step, "cache_dir", rec.CacheDir())
		}
	}
	sel, err = t.selector.Select(ctx, r)
	return sel, false, err
}

func (t *Trainer) recordStepFile(r algo.Request, sel algo.Selection) error {
	rec, ok := t.selector.(algo.Recorder)
	if !ok || rec.CacheDir() == "" {
		return nil
	}
	return report.WriteStepFile(rec.CacheDir(), r.Step, report.StepFile{Indices: sel.Indices, Metric: sel.Metric, Facts: sel.Facts, Key: r.Key})
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
