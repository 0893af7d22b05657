package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/tools/tasks"
)

// ldsModel is a model small enough to be trained hundreds of times: 0.35 M parameters.
const ldsModel = "tools/dataflex-demo/model"

// ldsMethods are the scores whose quality is measured.
var ldsMethods = []string{"less", "less-sgd", "less-rademacher", "less-sjlt", "nice"}

// ldsSmall are projections as coarse for the demo's adapters as 4096 is for a real model's.
var ldsSmall = keys{"proj_dim": 64}

// ldsCells measure the linear datamodelling score (Park et al., TRAK, ICML 2023, section 4):
// models are trained on random halves of the pool, and the score is the rank correlation
// between their losses on an evaluation set and the losses that the scores of their rows
// predict.
func ldsCells(s scale, seed int) []cell {
	out := []cell{{ldsID("halves", seed), func(ctx context.Context, l *lab) (map[string]float64, error) { return l.halves(ctx, s, seed) }}}
	for _, method := range ldsMethods {
		out = append(out, cell{ldsID(method, seed), func(ctx context.Context, l *lab) (map[string]float64, error) {
			return l.correlations(ctx, s, seed, method)
		}})
	}
	return out
}

func ldsID(method string, seed int) string { return fmt.Sprintf("lds/%s/seed-%d", method, seed) }

// ldsPool are the rows, with a few of every family to evaluate on.
func ldsPool(s scale, seed int) (rows []tasks.Row, evals map[string][]tasks.Row) {
	n := len(tasks.Families)
	rows = tasks.Make(uint64(7000+seed), s.ldsRows/n, 0.15, tasks.Families)
	fresh := tasks.Make(uint64(8000+seed), 12, 0, tasks.Families)
	evals = map[string][]tasks.Row{}
	for _, f := range tasks.Families {
		evals["eval_"+f.Name] = tasks.Only(fresh, f.Name)
	}
	return rows, evals
}

// half are the rows of the k-th random half.
func half(rows []tasks.Row, seed, k int) []int {
	r := rand.New(rand.NewPCG(uint64(seed), uint64(100+k)))
	return r.Perm(len(rows))[:len(rows)/2]
}

// ldsBase is the configuration that all of these runs share.
func ldsBase(seed int) keys {
	return keys{
		"model_name_or_path": storagePath(ldsModel), "template": "chatml", "cutoff_len": 64, "learning_rate": 2e-3, "lr_scheduler_type": "constant",
		"warmup_ratio": 0.0, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 32, "seed": seed, "eval_on_each_dataset": true,
	}
}

func storagePath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// with is base with further keys.
func with(base, more keys) keys {
	all := keys{}
	maps.Copy(all, base)
	maps.Copy(all, more)
	return all
}

// startOf is the checkpoint from which all halves start, and at which the scores are computed.
func (l *lab) startOf(seed int) string {
	return filepath.Join(l.options.out, "runs", ldsID("halves", seed), "start", "checkpoint-8")
}

// halves trains the start and a model on every half, and returns their losses.
func (l *lab) halves(ctx context.Context, s scale, seed int) (map[string]float64, error) {
	rows, evals := ldsPool(s, seed)
	sets := map[string]any{"pool": rows}
	names := ""
	for _, f := range tasks.Families {
		name := "eval_" + f.Name
		sets[name] = evals[name]
		names += "," + name
	}
	for k := range s.subsets {
		var some []tasks.Row
		for _, i := range half(rows, seed, k) {
			some = append(some, rows[i])
		}
		sets[fmt.Sprint("half", k)] = some
	}
	if err := l.sets(sets); err != nil {
		return nil, err
	}
	_, err := l.run(ctx, "start", with(ldsBase(seed), keys{"dataset": "pool", "eval_dataset": names[1:], "max_steps": 8, "save_strategy": "steps", "save_steps": 8}), "", nil)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{}
	for k := range s.subsets {
		name := fmt.Sprint("half", k)
		r, err := l.run(ctx, name, with(ldsBase(seed), keys{"dataset": name, "eval_dataset": names[1:], "adapter_name_or_path": l.startOf(seed), "num_train_epochs": s.ldsEpochs}), "", nil)
		if err != nil {
			return nil, err
		}
		losses, err := r.losses()
		if err != nil {
			return nil, err
		}
		for set, loss := range losses {
			values[fmt.Sprintf("%s %d", set, k)] = loss
		}
		if err := storage.RemoveAll(r.dir); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// correlations scores the rows for every family, and returns the correlations.
func (l *lab) correlations(ctx context.Context, s scale, seed int, method string) (map[string]float64, error) {
	measured, err := l.store.read(ldsID("halves", seed))
	if err != nil {
		return nil, err
	}
	rows, evals := ldsPool(s, seed)
	sets := map[string]any{"pool": rows}
	for name, e := range evals {
		sets[name] = e
	}
	if err := l.sets(sets); err != nil {
		return nil, err
	}
	var predicted, losses [][]float64 // by family, for every half
	for _, f := range tasks.Families {
		score, err := l.scores(ctx, seed, method, "eval_"+f.Name)
		if err != nil {
			return nil, err
		}
		var p, m []float64
		for k := range s.subsets {
			sum := 0.0
			for _, i := range half(rows, seed, k) {
				sum += score[i]
			}
			p, m = append(p, sum), append(m, -measured.Values[fmt.Sprintf("eval_%s %d", f.Name, k)])
		}
		predicted, losses = append(predicted, p), append(losses, m)
	}
	mean := meanCorrelation(predicted, losses, nil)
	low, high := bootstrap(predicted, losses, seed)
	return map[string]float64{"lds": mean, "low": low, "high": high}, nil
}

// scores are a selector's scores of the rows, at the start's weights.
func (l *lab) scores(ctx context.Context, seed int, method, eval string) ([]float64, error) {
	c := contenders[method]
	params := keys{}
	with(params, c.params)
	if params["projection"] != nil {
		with(params, ldsSmall)
	}
	over := with(ldsBase(seed), keys{
		"dataset": "pool", "eval_dataset": eval, "eval_on_each_dataset": false, "train_type": "dynamic_select", "warmup_step": 1, "update_step": 1, "update_times": 1,
		"resume_from_checkpoint": l.startOf(seed),
	})
	cfg, err := l.load(eval, over, c.component, params)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(l.dir, eval, "scores")
	if err := train.Score(ctx, cfg, train.Options{Out: io.Discard, Log: l.log}, dir, train.Shard{Index: 1, Count: 1}); err != nil {
		return nil, err
	}
	a, err := npy.Read(filepath.Join(dir, "scores.npy"))
	if err != nil {
		return nil, err
	}
	score := a.Float64s()
	for i, v := range score {
		if math.IsNaN(v) {
			score[i] = 0 // a row without a gradient has no effect
		}
	}
	return score, nil
}

// meanCorrelation is the mean over the families of the rank correlation, over the halves with
// those numbers, or over all.
func meanCorrelation(predicted, measured [][]float64, halves []int) float64 {
	sum := 0.0
	for f := range predicted {
		p, m := predicted[f], measured[f]
		if halves != nil {
			p, m = pickFrom(p, halves), pickFrom(m, halves)
		}
		sum += spearman(p, m)
	}
	return sum / float64(len(predicted))
}

func pickFrom(x []float64, at []int) []float64 {
	out := make([]float64, len(at))
	for i, k := range at {
		out[i] = x[k]
	}
	return out
}

// bootstrap is the 95 % confidence interval of the mean correlation, by resampling the halves.
func bootstrap(predicted, measured [][]float64, seed int) (low, high float64) {
	const draws = 1000
	r := rand.New(rand.NewPCG(uint64(seed), 11))
	all := make([]float64, draws)
	halves := make([]int, len(predicted[0]))
	for d := range all {
		for i := range halves {
			halves[i] = r.IntN(len(halves))
		}
		all[d] = meanCorrelation(predicted, measured, halves)
	}
	slices.Sort(all)
	return all[draws*25/1000], all[draws*975/1000-1]
}

// spearman is the rank correlation; ties have the mean of their ranks.
func spearman(x, y []float64) float64 {
	a, b := ranks(x), ranks(y)
	mean := float64(len(x)-1) / 2
	var ab, aa, bb float64
	for i := range a {
		ab += (a[i] - mean) * (b[i] - mean)
		aa += (a[i] - mean) * (a[i] - mean)
		bb += (b[i] - mean) * (b[i] - mean)
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case x[a] < x[b]:
			return -1
		case x[a] > x[b]:
			return 1
		}
		return 0
	})
	out := make([]float64, len(x))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && x[order[j]] == x[order[i]] {
			j++
		}
		for k := i; k < j; k++ {
			out[order[k]] = float64(i+j-1) / 2
		}
		i = j
	}
	return out
}
