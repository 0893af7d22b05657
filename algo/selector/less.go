package selector

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/model/optim"
)

func init() { algo.RegisterSelector("less", newLESS) }

// LESS: Selecting Influential Data for Targeted Instruction Tuning (Xia et al., ICML 2024,
// arXiv:2402.04333). A row's score is the mean cosine between Adam's update direction for that
// row and the gradients of the evaluation rows; the rows with the largest scores are picked.
//
// faithful: Γ = m̂/(√v̂+ε) with bias correction (section 3.2), evaluation mode, exact inner
// products (`projection: rademacher`: the paper's projection to 8192, section 4.1, which its
// datastore needs but a selection does not), the largest of the scores over the subtasks of the
// evaluation set. `checkpoints` names folders of an earlier training run, whose scores are used
// instead of the model being trained: they are added up, each times the mean learning rate of
// the steps up to it (or `checkpoint_weights`).
// upstream: raw moments with β .9/.999 and ε outside the root, the model in training mode, the
// mean over the whole evaluation set, TRAK's matrix of its CPU projector over gradients rounded
// to float16; `projection: none` matches the recorded exact runs.
type less struct {
	*influence
	history []trained // earlier checkpoints; empty: use the model being trained

	// target returns the function that computes the evaluation set's mean features under the
	// model's current weights. by identifies what they depend on beyond the request's key.
	target func(ctx context.Context, r algo.Request) (mean meanOf, by string, err error)
}

func newLESS(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Selector, error) {
	d := influenceDefaults{name: "less", dim: 8192, seed: 0, cacheDir: "cache/less"}
	if mode == algo.Upstream {
		d.dim, d.seed = 4096, 123
	}
	base, err := newInfluence(run, mode, p, d)
	if err != nil {
		return nil, err
	}
	s := &less{influence: base, target: func(context.Context, algo.Request) (meanOf, string, error) { return base.evalMean, "", nil }}
	folders, weights := p.Strings("checkpoints", nil), p.Floats("checkpoint_weights", nil)
	if err := p.Err(); err != nil {
		return nil, err
	}
	switch {
	case len(folders) > 0 && mode == algo.Upstream:
		return nil, p.Wrap("checkpoints", errors.New("several checkpoints belong to mode: faithful"))
	case weights != nil && len(weights) != len(folders):
		return nil, p.Wrap("checkpoint_weights", fmt.Errorf("%d weights for %d checkpoints", len(weights), len(folders)))
	}
	if s.history, err = readHistory(folders, weights); err != nil {
		return nil, p.Wrap("checkpoints", err)
	}
	return s, nil
}

// Reuse is off with checkpoints: the key does not cover their contents.
func (s *less) Reuse() bool { return len(s.history) == 0 }

// Cost is a gradient of every row, for every checkpoint.
func (s *less) Cost() algo.Cost {
	n := float64(max(1, len(s.history)))
	return algo.Cost{Gradient: n * float64(s.groups()), EvalGradient: n}
}

// ScoresRows marks that a row's score does not depend on the other rows.
func (s *less) ScoresRows() {}

func (s *less) Select(ctx context.Context, r algo.Request) (algo.Selection, error) {
	p := poolOf(s.run, r)
	c := &scan{influence: s.influence, pool: p.examples}
	score, err := s.scores(ctx, r, c)
	if err == nil {
		err = scored(s.run.Log, p.examples, score)
	}
	if err := c.end(err); err != nil {
		return algo.Selection{}, err
	}
	facts := c.projectionFacts(score)
	if s.mode == algo.Upstream {
		facts = nil // upstream's step files have none
	}
	at := top(s.mode, score, r.N)
	rows := (len(score)*s.groups() + len(s.run.Eval)) * max(1, len(s.history))
	return algo.Selection{
		Indices: p.positions(at), Metric: map[string][]float64{"train_eval_similarity": pick(score, at)}, Score: p.spread(score), Scored: rows, Facts: facts,
	}, nil
}

// scores returns every pool row's score: the cosines per subtask, summed over the checkpoints
// with their weights; of these sums the maximum over the subtasks.
func (s *less) scores(ctx context.Context, r algo.Request, c *scan) ([]float64, error) {
	n := len(s.tasks)
	sum := make([]float64, len(c.pool)*n)
	add := func(key, whole string, o optim.Adaptive, weight float64) error {
		mean, by, err := s.target(ctx, r)
		if err != nil {
			return err
		}
		switch {
		case by != "":
			key = keyWith(key, by)
		case r.Whole != "":
			mean = s.sharedMean(whole, mean)
		}
		cosines, err := c.cosines(ctx, key, o, weight, mean)
		for i, x := range cosines {
			sum[i] += weight * float64(x)
		}
		return err
	}
	if len(s.history) == 0 {
		if err := add(r.Key, r.Whole, s.moments, 1); err != nil {
			return nil, err
		}
	}
	for i, h := range s.history {
		at := fmt.Sprint("checkpoint ", i, " ", h.key)
		err := h.visit(s.run, s.moments, func(o optim.Adaptive) error { return add(keyWith(r.Key, at), keyWith(r.Whole, at), o, h.weight) })
		if err != nil {
			return nil, fmt.Errorf("checkpoint %s: %w", h.dir, err)
		}
	}
	score := make([]float64, len(c.pool))
	for i := range score {
		score[i] = slices.Max(sum[i*n : (i+1)*n]) // NaN if any is
	}
	return score, nil
}
