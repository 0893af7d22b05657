package selector

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/model/optim"
)

func init() { algo.RegisterSelector("less", newLESS) }

// LESS: Selecting Influential Data for Targeted Instruction Tuning (Xia et al.,
// ICML 2024). A row's score is the mean cosine between the direction Adam would
// take on it and the gradients of the evaluation rows; the rows with the largest
// scores are picked.
//
// faithful: Γ = m̂/(√v̂+ε) with bias correction (section 3.2), evaluation mode,
// Rademacher projection to 8192 (section 4.1), the largest of the scores over the
// subtasks of the evaluation set. `checkpoints` names folders of an earlier
// training run, whose scores are added up, each times the mean learning rate of
// the steps up to it (or `checkpoint_weights`), in place of the model being
// trained.
// upstream: raw moments with β .9/.999 and ε outside the root, the model as
// training left it, the mean over the whole evaluation set, TRAK's matrix of its
// CPU projector over gradients rounded to float16; `projection: none` compares
// with the recorded exact runs.
type less struct {
	*influence
	history []trained // earlier checkpoints; empty: the model being trained

	// aim is the evaluation set's side: for every subtask a vector to compare with.
	aim func(ctx context.Context, r algo.Request) ([][]float64, error)
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
	s := &less{influence: base, aim: func(ctx context.Context, _ algo.Request) ([][]float64, error) { return base.targets(ctx) }}
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

func (s *less) Select(ctx context.Context, r algo.Request) (algo.Selection, error) {
	score, err := s.scores(ctx, r)
	if err != nil {
		return algo.Selection{}, err
	}
	if err := scored(s.run.Log, s.run.Train, score); err != nil {
		return algo.Selection{}, err
	}
	indices := top(s.mode, score, r.N)
	rows := (len(score) + len(s.run.Eval)) * max(1, len(s.history))
	return algo.Selection{
		Indices: indices, Metric: map[string][]float64{"train_eval_similarity": pick(score, indices)}, Score: score, Scored: rows,
	}, nil
}

// scores is every pool row's score: per subtask the cosines, over the checkpoints
// the weighted sum, then the largest of the subtasks.
func (s *less) scores(ctx context.Context, r algo.Request) ([]float64, error) {
	t := len(s.tasks)
	sum := make([]float64, len(s.run.Train)*t)
	if len(s.history) == 0 {
		if err := s.add(ctx, r, r.Key, s.moments, 1, sum); err != nil {
			return nil, err
		}
	}
	for _, c := range s.history {
		err := c.visit(s.run, s.moments, func(o optim.Adaptive) error {
			return s.add(ctx, r, c.storeKey(r.Key), o, c.weight, sum)
		})
		if err != nil {
			return nil, fmt.Errorf("checkpoint %s: %w", c.dir, err)
		}
	}
	score := make([]float64, len(s.run.Train))
	for i := range score {
		score[i] = slices.Max(sum[i*t : (i+1)*t]) // NaN if any is
	}
	return score, nil
}

// add adds weight times the cosines [pool, subtasks] to sum. They are stored as
// they come: a pass that was killed goes on where it was.
func (s *less) add(ctx context.Context, r algo.Request, key string, o optim.Adaptive, weight float64, sum []float64) error {
	targets, err := s.aim(ctx, r)
	if err != nil {
		return err
	}
	store, err := feature.OpenStore(filepath.Join(s.dir, "features"), key, len(s.run.Train), len(targets))
	if err != nil {
		return err
	}
	projection, cosines := s.projection, projectedCosines
	if projection.Kind() == gradproj.None {
		if projection, err = innerWith(targets); err != nil {
			return err
		}
		cosines = exactCosines
	}
	err = feature.Gradients(ctx, s.pass(projection, o, s.direction(o)), s.run.Train, store.Batches(), func(rows []int, z []float32, norms []float64) error {
		return store.Put(rows, cosines(z, norms, targets))
	})
	if err != nil {
		return errors.Join(fmt.Errorf("training rows: %w", err), store.Close())
	}
	row := make([]float32, len(targets))
	for i := range s.run.Train {
		if err := store.Row(i, row); err != nil {
			return err
		}
		for j, x := range row {
			sum[i*len(row)+j] += weight * float64(x)
		}
	}
	return store.Remove()
}
