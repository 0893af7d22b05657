package train

import (
	"cmp"
	"slices"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/rng"
)

// lengthGroups are the orders of a run with group_by_length, in training and in its
// evaluations. Hugging Face draws both from torch's global stream, so that the order of a pass
// depends on the evaluations before it, and that of an evaluation on the passes before it. So
// that a resumed run has the same orders, the draws are repeated from the run's start.
type lengthGroups struct {
	plan      Plan
	seed      uint64 // seed; data_seed is only of the sampler that does not group
	inOrder   bool   // disable_shuffling, streaming: training takes the rows in their order
	train     []data.Example
	sets      []EvalSet
	evalBatch int
	evaluates func(step int) bool // also after 0 steps
}

// newLengthGroups returns nil for a run without group_by_length. A run whose rows come in
// windows has one stream per window, and its evaluations keep the rows' order.
func newLengthGroups(c *config.Config, plan Plan, d *Data) *lengthGroups {
	if !c.Training.GroupByLength {
		return nil
	}
	g := &lengthGroups{plan: plan, seed: uint64(c.Training.Seed), inOrder: c.Tuning.DisableShuffling || c.Data.Streaming, train: d.Train, evalBatch: c.Training.PerDeviceEvalBatchSize}
	if !plan.Dynamic {
		g.sets = d.Eval
		timing := cadence{&c.Training, plan}
		g.evaluates = func(step int) bool {
			if step == 0 {
				return c.Training.EvalOnStart
			}
			return timing.evaluates(step)
		}
	}
	return g
}

// pass is the order of n rows in the e-th pass over a window, at is a row of the window.
func (g *lengthGroups) pass(e, n int, at func(i int) int) []int {
	stream := rng.NewTorch(g.seed)
	for done := range e {
		g.skipEvaluations(stream, done)
		skip(stream, n)
	}
	g.skipEvaluations(stream, e)
	return grouped(stream, n, g.plan.Batch(), func(i int) int { return len(g.train[at(i)].InputIDs) })
}

// skipEvaluations moves the stream past the evaluations between pass e and the one before it.
func (g *lengthGroups) skipEvaluations(stream *rng.Torch, e int) {
	if len(g.sets) == 0 {
		return
	}
	per := g.plan.StepsPerEpoch()
	for step := (e-1)*per + 1; step <= e*per; step++ {
		if step >= 0 && g.evaluates(step) {
			g.skipSets(stream, len(g.sets))
		}
	}
}

// skipSets moves the stream past the evaluation of the first sets.
func (g *lengthGroups) skipSets(stream *rng.Torch, sets int) {
	for _, set := range g.sets[:sets] {
		skip(stream, len(set.Examples))
	}
}

// evaluation is the order of a set's rows in the evaluation after that many steps; final is
// the one that follows training.
func (g *lengthGroups) evaluation(step, set int, final bool) []int {
	stream := rng.NewTorch(g.seed)
	opened := 0 // the first step of the last pass that has begun
	if step > 0 {
		per := g.plan.StepsPerEpoch()
		passes := (step + per - 1) / per
		for e := range passes {
			g.skipEvaluations(stream, e)
			g.skipPass(stream)
		}
		opened = (passes-1)*per + 1
	}
	for s := opened; s <= step; s++ {
		if g.evaluates(s) && (s < step || final) {
			g.skipSets(stream, len(g.sets))
		}
	}
	g.skipSets(stream, set)
	rows := g.sets[set].Examples
	return grouped(stream, len(rows), g.evalBatch, func(i int) int { return len(rows[i].InputIDs) })
}

// skipPass moves the stream past a pass over the training rows.
func (g *lengthGroups) skipPass(stream *rng.Torch) {
	if g.inOrder {
		stream.Int63()
		return
	}
	skip(stream, len(g.train))
}

// skip moves the stream past the order of n rows.
func skip(stream *rng.Torch, n int) {
	stream.Int63()
	stream.Randperm(n)
}

// grouped is Hugging Face's LengthGroupedSampler: the rows of a random order are sorted by
// length, longest first, in megabatches, and the longest row of all is moved to the front.
// Before the order, the loader draws a base seed.
func grouped(stream *rng.Torch, n, batch int, length func(i int) int) []int {
	stream.Int63()
	order := stream.Randperm(n)
	size := max(1, min(n/(4*batch), 50)) * batch
	longest, most := 0, -1
	for lo := 0; lo < n; lo += size {
		mega := order[lo:min(lo+size, n)]
		slices.SortStableFunc(mega, func(a, b int) int { return cmp.Compare(length(b), length(a)) })
		if l := length(mega[0]); l > most {
			longest, most = lo, l
		}
	}
	order[0], order[longest] = order[longest], order[0]
	return order
}
