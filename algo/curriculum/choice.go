package curriculum

import (
	"context"
	"errors"
	"math"
	"syscall"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/storage"
)

// chooser asks a selector, or reuses from the selector's cache_dir the selection that an
// earlier run made under identical conditions.
type chooser struct {
	run      Run
	selector algo.Selector
	name     string
}

// Selector returns the method itself, for scoring without training.
func (c *chooser) Selector() algo.Selector { return c.selector }

// choose reads the selection from cache_dir, or makes it and stores it there. If several runs
// need the same selection one makes it and the others wait. With several ranks all of them make
// it, and only rank 0 reads and writes the files.
func (c *chooser) choose(ctx context.Context, r algo.Request) (sel algo.Selection, reused bool, err error) {
	rec, ok := c.selector.(algo.Recorder)
	if !ok || rec.CacheDir() == "" {
		sel, err = c.selector.Select(ctx, r)
		return sel, false, err
	}
	var lock *storage.Lock
	defer func() {
		if lock != nil {
			err = errors.Join(err, lock.Release())
		}
	}()
	type made struct {
		There   bool
		Indices []int
	}
	before, err := ranks.Decided(ctx, c.run.Ranks, "a selection that was made before", func(ctx context.Context) (m made, err error) {
		locking := error(nil)
		if lock, locking = c.Lock(ctx, r); rec.Reuse() && (locking == nil || storage.Unwritable(locking)) {
			sel, m.There, err = c.cached(rec.CacheDir(), r)
		}
		if !m.There { // one that is there is read from a cache_dir that only others may write
			err = errors.Join(locking, err)
		}
		m.Indices = sel.Indices
		return m, err
	})
	if err != nil || before.There {
		sel.Indices = before.Indices
		return sel, before.There, err
	}
	if sel, err = c.selector.Select(ctx, r); err != nil || len(sel.Indices) != r.N || !c.run.Ranks.First() {
		return sel, false, err
	}
	f := report.StepFile{Indices: sel.Indices, Metric: sel.Metric, Facts: sel.Facts, Key: r.Key}
	return sel, false, errors.Join(c.passedBy(report.WriteStepFile(rec.CacheDir(), r.Step, f)), c.passedBy(f.WriteUpstream(rec.CacheDir(), r.Step)))
}

// passedBy turns into a warning that a folder has the name of a cache's file: the run does not
// need the file. Other errors, such as a full disk, would soon stop the run anyway.
func (c *chooser) passedBy(err error) error {
	if !errors.Is(err, syscall.EISDIR) {
		return err
	}
	c.run.Log.Warn("the selection is not kept in cache_dir: " + err.Error() + ": move the folder away")
	return nil
}

// Lock locks what is computed under a request's key in the selector's cache_dir; nil if the
// selector has none.
func (c *chooser) Lock(ctx context.Context, r algo.Request) (*storage.Lock, error) {
	rec, ok := c.selector.(algo.Recorder)
	if !ok || rec.CacheDir() == "" {
		return nil, nil
	}
	return report.LockSelection(ctx, rec.CacheDir(), r.Key, func(h *storage.Held) {
		c.run.Log.Info("another run is making the same selection: waiting for it", "step", r.Step, "pid", h.Owner.PID, "host", h.Owner.Host)
	})
}

// cached returns the selection that an earlier run stored under the same key.
func (c *chooser) cached(dir string, r algo.Request) (sel algo.Selection, ok bool, err error) {
	f, ok, err := report.ReadStepFile(dir, r.Key, len(c.run.Train))
	if err != nil {
		c.run.Log.Warn("a selection in cache_dir cannot be used and is made again: " + err.Error())
		return sel, false, nil
	}
	if !ok {
		return sel, false, nil
	}
	c.run.Log.Info("the selection was made before under the same conditions: read from disk", "step", r.Step, "cache_dir", dir)
	sel = algo.Selection{Indices: f.Indices, Metric: f.Metric, Facts: f.Facts}
	if err := f.WriteUpstream(dir, r.Step); !storage.Unwritable(err) {
		return sel, true, c.passedBy(err)
	}
	return sel, true, nil // a cache_dir that only others may write keeps its step_N.json
}

// warnEqual warns if all scores are equal.
func (c *chooser) warnEqual(step int, score []float64) {
	if v, n := sameScore(score); n > 1 {
		c.run.Log.Warn("every row has the same score, so that the choice among them is arbitrary", "step", step, "selector", c.name, "score", v, "rows", n)
	}
}

// sameScore returns the score that all n rows with a score have; n is 0 if scores differ.
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
