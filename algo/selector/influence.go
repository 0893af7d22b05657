package selector

import (
	"cmp"
	"errors"
	"fmt"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/model/optim"
)

// influence is shared by the gradient-based selectors: it defines how a row's gradient becomes
// a feature, and the features of the evaluation set.
//
// faithful: exact inner products of unprojected gradients, unless `projection` is rademacher,
// gaussian or sjlt. Rows are compared with one mean per subtask, so that unprojected means cost
// less than a projection of every row, whose error is larger than the differences between real
// rows' scores.
// upstream: TRAK's projection.
type influence struct {
	name       string
	run        *algo.Run
	mode       algo.Mode
	moments    optim.Adaptive // of gradient_type: adam; nil = sgd
	epsInside  bool
	projection *gradproj.Projection // of kind none: unprojected gradients
	seed       uint64
	dir        string
	tasks      [][]int // rows of Run.Eval, by subtask
	atOnce     int     // number of subtasks whose means are held at a time
}

// projectionTRAK is upstream's own matrix, which only mode upstream may ask for.
const projectionTRAK = "trak"

// influenceDefaults are the defaults that differ between methods.
type influenceDefaults struct {
	name      string
	dim, seed int
	cacheDir  string
	plain     bool   // raw gradients, whatever gradient_type says
	gradient  string // of gradient_type; "" = adam
}

func newInfluence(run *algo.Run, mode algo.Mode, p *config.Params, d influenceDefaults) (*influence, error) {
	kind := string(gradproj.None)
	if mode == algo.Upstream {
		kind = projectionTRAK
	}
	s := &influence{name: d.name, run: run, mode: mode, dir: p.String("cache_dir", d.cacheDir)}
	gradient := p.String("gradient_type", cmp.Or(d.gradient, "adam"))
	dim, seed := p.Int("proj_dim", d.dim), p.Int("seed", d.seed)
	kind = p.String("projection", kind)
	s.epsInside = p.Bool("eps_inside", false)
	p.Int("save_interval", 16) // the feature store saves continuously
	subtaskBy := p.String("subtask_by", "column")
	if err := p.Err(); err != nil {
		return nil, err
	}
	s.seed = uint64(seed)
	switch {
	case gradient != "adam" && gradient != "sgd":
		return nil, p.Wrap("gradient_type", fmt.Errorf("gradient_type is adam or sgd, not %q", gradient))
	case dim < 1 || dim > maxProjection:
		return nil, p.Wrap("proj_dim", fmt.Errorf("the projection needs from 1 to %d dimensions, not %d (papers take 4096 to 8192)", maxProjection, dim))
	case len(run.Eval) == 0:
		return nil, p.Wrap("name", fmt.Errorf("%s scores rows against an evaluation set: name one with eval_dataset, or hold rows out with val_size", d.name))
	case kind == projectionTRAK && mode != algo.Upstream:
		return nil, p.Wrap("projection", fmt.Errorf("projection trak belongs to mode: upstream"))
	}
	var err error
	if gradient == "adam" && !d.plain {
		if s.moments, err = adamOf(run); err != nil {
			return nil, p.Wrap("gradient_type", err)
		}
	}
	if s.tasks, err = subtasks(run, mode, subtaskBy); err != nil {
		return nil, p.Wrap("subtask_by", err)
	}
	if s.projection, err = newProjection(run, kind, dim, s.seed); err != nil {
		return nil, p.Wrap("projection", err)
	}
	if s.exact() && p.Given("proj_dim") {
		run.Log.Info(d.name + ": proj_dim is not used: gradients are compared unprojected, which is exact and faster; projection: rademacher would project them to proj_dim")
	}
	return s, s.fitMeans()
}

// adamOf is the run's optimizer if it has Adam's moments.
func adamOf(run *algo.Run) (optim.Adaptive, error) {
	if o, ok := run.Optimizer.(optim.Adaptive); ok {
		return o, nil
	}
	return nil, errors.New("gradient_type: adam takes the direction of Adam's moments, which the run's optimizer does not keep: train with optim: adamw_torch, or set gradient_type: sgd")
}

// exact reports that gradients are compared unprojected.
func (s *influence) exact() bool { return s.projection.Kind() == gradproj.None }

// subtasks groups the evaluation rows: by the data's `subtask` column if it has one (column),
// by data set (dataset), or not at all (none, and mode upstream).
func subtasks(run *algo.Run, mode algo.Mode, by string) ([][]int, error) {
	name := func(int) string { return "" }
	switch by {
	case "column":
		if run.Subtasks != nil {
			name = func(i int) string { return run.Subtasks[i] }
		}
	case "dataset":
		name = func(i int) string { return run.Eval[i].Dataset }
	case "none":
	default:
		return nil, fmt.Errorf("subtask_by is column, dataset or none, not %q", by)
	}
	if mode == algo.Upstream {
		name = func(int) string { return "" }
	}
	var groups [][]int
	at := map[string]int{}
	for i := range run.Eval {
		g, ok := at[name(i)]
		if !ok {
			g = len(groups)
			at[name(i)] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups, nil
}

func newProjection(run *algo.Run, kind string, dim int, seed uint64) (*gradproj.Projection, error) {
	total := 0
	var marks []int
	for _, q := range run.Model.Trainable() {
		marks = append(marks, total)
		total += q.Size()
	}
	if run.Outline {
		total = 1 // their number is not known yet
	}
	switch kind {
	case projectionTRAK:
		return gradproj.New(gradproj.TRAK, dim, seed, total, gradproj.Options{Source: feature.NewTRAK(seed, dim, marks), Float16: true})
	case string(gradproj.None):
		dim = total
	}
	return gradproj.New(gradproj.Kind(kind), dim, seed, total, gradproj.Options{BF16: run.Model.BF16()})
}

func (s *influence) WarmupSeed() uint64 { return s.seed }

func (s *influence) CacheDir() string { return s.dir }

func (s *influence) Reuse() bool { return true }

func (s *influence) pass(p *gradproj.Projection, o optim.Adaptive, direction *feature.Direction) feature.GradientPass {
	return feature.GradientPass{
		Pass:       feature.Pass{Device: s.run.Device, Model: s.run.Model, Log: s.run.Log, Ranks: s.run.Ranks},
		Projection: p, Direction: direction, Optimizer: o,
		Train: s.mode == algo.Upstream, Seed: s.run.Seed,
	}
}

func (s *influence) direction(o optim.Adaptive) *feature.Direction {
	if o == nil {
		return nil
	}
	if s.mode == algo.Upstream {
		return &feature.Direction{Beta1: .9, Beta2: .999, Eps: 1e-8, EpsInside: s.epsInside}
	}
	b1, b2, eps := o.Betas()
	return &feature.Direction{Beta1: b1, Beta2: b2, Eps: eps, EpsInside: s.epsInside, BiasCorrection: true}
}

// maxProjection is the largest proj_dim: a feature of that size is stored for every row.
const maxProjection = 1 << 20
