package selector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"dataflex/algo"
	"dataflex/algo/config"
	"dataflex/algo/feature"
	"dataflex/data/torchsort"
	"dataflex/driver"
	"dataflex/kernels/gradproj"
)

func init() { algo.RegisterSelector("less", newLESS) }

// LESS: Selecting Influential Data for Targeted Instruction Tuning (Xia et al.,
// ICML 2024). A row's score is the mean cosine between the direction Adam would
// take on it and the gradients of the evaluation rows; the rows with the largest
// scores are picked.
//
// faithful: Γ = m̂/(√v̂+ε) with bias correction (section 3.2), evaluation mode,
// Rademacher projection to 8192 (section 4.1).
// upstream: raw moments with β .9/.999 and ε outside the root, the model as
// training left it, TRAK's matrix of its CPU projector over gradients rounded to
// float16; `projection: none` compares with the recorded exact runs.
type less struct {
	run        *algo.Run
	mode       algo.Mode
	adam       bool
	epsInside  bool
	projection *gradproj.Projection
	seed       uint64
	dir        string
}

// projectionTRAK is upstream's own matrix, which only mode upstream may ask for.
const projectionTRAK = "trak"

func newLESS(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Selector, error) {
	dim, seed, kind := 8192, 0, string(gradproj.Rademacher)
	if mode == algo.Upstream {
		dim, seed, kind = 4096, 123, projectionTRAK
	}
	s := &less{run: run, mode: mode, dir: p.String("cache_dir", "cache/less")}
	gradient := p.String("gradient_type", "adam")
	dim = p.Int("proj_dim", dim)
	seed = p.Int("seed", seed)
	kind = p.String("projection", kind)
	s.epsInside = p.Bool("eps_inside", false)
	p.Int("save_interval", 16) // the feature store saves as it goes
	if err := p.Err(); err != nil {
		return nil, err
	}
	s.adam, s.seed = gradient == "adam", uint64(seed)
	switch {
	case gradient != "adam" && gradient != "sgd":
		return nil, p.Wrap("gradient_type", fmt.Errorf("gradient_type is adam or sgd, not %q", gradient))
	case dim < 1:
		return nil, p.Wrap("proj_dim", fmt.Errorf("the projection needs at least one dimension, not %d", dim))
	case len(run.Eval) == 0:
		return nil, p.Wrap("name", fmt.Errorf("less scores rows against an evaluation set: name one with eval_dataset, or hold rows out with val_size"))
	case kind == projectionTRAK && mode != algo.Upstream:
		return nil, p.Wrap("projection", fmt.Errorf("projection trak belongs to mode: upstream"))
	}
	var err error
	if s.projection, err = newProjection(run, kind, dim, s.seed); err != nil {
		return nil, p.Wrap("projection", err)
	}
	return s, nil
}

func newProjection(run *algo.Run, kind string, dim int, seed uint64) (*gradproj.Projection, error) {
	total := 0
	var marks []int
	for _, q := range run.Model.Trainable() {
		marks = append(marks, total)
		total += q.Size()
	}
	switch kind {
	case projectionTRAK:
		return gradproj.New(gradproj.TRAK, dim, seed, total, gradproj.Options{Source: feature.NewTRAK(seed, dim, marks), Float16: true})
	case string(gradproj.None):
		dim = total
	}
	return gradproj.New(gradproj.Kind(kind), dim, seed, total, gradproj.Options{})
}

func (s *less) WarmupSeed() uint64 { return s.seed }

func (s *less) NeedsEval() bool { return true }

func (s *less) CacheDir() string { return s.dir }

func (s *less) Reuse() bool { return true }

func (s *less) pass(p *gradproj.Projection, direction *feature.Direction) feature.GradientPass {
	return feature.GradientPass{
		Pass:       feature.Pass{Device: s.run.Device, Model: s.run.Model, Log: s.run.Log},
		Projection: p, Direction: direction, Optimizer: s.run.Optimizer,
		Train: s.mode == algo.Upstream, Seed: s.run.Seed,
	}
}

func (s *less) direction() *feature.Direction {
	if !s.adam {
		return nil
	}
	if s.mode == algo.Upstream {
		return &feature.Direction{Beta1: .9, Beta2: .999, Eps: 1e-8, EpsInside: s.epsInside}
	}
	b1, b2, eps := s.run.Optimizer.Betas()
	return &feature.Direction{Beta1: b1, Beta2: b2, Eps: eps, EpsInside: s.epsInside, BiasCorrection: true}
}

func (s *less) Select(ctx context.Context, r algo.Request) (algo.Selection, error) {
	target, err := s.target(ctx)
	if err != nil {
		return algo.Selection{}, err
	}
	score, err := s.scores(ctx, r, target)
	if err != nil {
		return algo.Selection{}, err
	}
	indices := s.top(score, r.N)
	metric := make([]float64, len(indices))
	for i, j := range indices {
		metric[i] = score[j]
	}
	return algo.Selection{Indices: indices, Metric: map[string][]float64{"train_eval_similarity": metric}, Score: score, Scored: len(score) + len(s.run.Eval)}, nil
}

// target is the mean of the evaluation rows' unit gradients: the mean cosine of a
// row with them is its unit feature's inner product with it.
func (s *less) target(ctx context.Context) ([]float64, error) {
	mean := make([]float64, s.projection.Dim())
	n := float64(len(s.run.Eval))
	err := feature.Gradients(ctx, s.pass(s.projection, nil), s.run.Eval, 0, func(rows []int, z []float32, _ []float64) error {
		for i := range rows {
			row := z[i*len(mean) : (i+1)*len(mean)]
			inv := 1 / max(norm(row), 1e-12) / n
			for j, x := range row {
				mean[j] += float64(x) * inv
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("evaluation rows: %w", err)
	}
	return mean, nil
}

// scores is every pool row's mean cosine with the evaluation rows. Scores are
// stored as they come: a pass that was killed goes on where it was.
func (s *less) scores(ctx context.Context, r algo.Request, target []float64) ([]float64, error) {
	store, err := feature.OpenStore(filepath.Join(s.dir, "features"), r.Key, len(s.run.Train), 1)
	if err != nil {
		return nil, err
	}
	projection, cosine := s.projection, projectedCosine
	if projection.Kind() == gradproj.None {
		if projection, err = innerWith(target); err != nil {
			return nil, err
		}
		cosine = exactCosine
	}
	err = feature.Gradients(ctx, s.pass(projection, s.direction()), s.run.Train, store.Batches(), func(rows []int, z []float32, norms []float64) error {
		return store.Put(rows, cosine(z, norms, target))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("training rows: %w", err), store.Close())
	}
	score := make([]float64, len(s.run.Train))
	one := make([]float32, 1)
	for i := range score {
		if err := store.Row(i, one); err != nil {
			return nil, err
		}
		score[i] = float64(one[0])
	}
	return score, store.Remove()
}

// innerWith makes of every gradient its inner product with target alone, so that
// `projection: none` stores no gradient.
func innerWith(target []float64) (*gradproj.Projection, error) {
	v := make([]float32, len(target))
	for i, x := range target {
		v[i] = float32(x)
	}
	return gradproj.New(gradproj.Inner, 1, 0, len(v), gradproj.Options{Vectors: driver.FromHost(v)})
}

func exactCosine(z []float32, norms, _ []float64) []float32 {
	out := make([]float32, len(norms))
	for i, n := range norms {
		out[i] = float32(float64(z[i]) / max(n, 1e-12))
	}
	return out
}

func projectedCosine(z []float32, norms, target []float64) []float32 {
	out := make([]float32, len(norms))
	for i := range norms {
		row := z[i*len(target) : (i+1)*len(target)]
		var dot float64
		for j, x := range row {
			dot += float64(x) * target[j]
		}
		out[i] = float32(dot / max(norm(row), 1e-12))
	}
	return out
}

// top picks the n largest scores in descending order. Among equals, upstream
// takes what torch.topk takes; faithful the lower row. NaN never wins.
func (s *less) top(score []float64, n int) []int {
	if s.mode == algo.Upstream {
		f := make([]float32, len(score))
		for i, x := range score {
			f[i] = float32(x)
		}
		return torchsort.TopK(f, n)
	}
	order := make([]int, len(score))
	for i := range order {
		order[i] = i
	}
	key := func(i int) float64 {
		if math.IsNaN(score[i]) {
			return math.Inf(-1)
		}
		return score[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(key(b), key(a)) })
	return order[:n]
}

func norm(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s)
}
