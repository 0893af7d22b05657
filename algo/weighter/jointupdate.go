package weighter

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/data"
)

func init() { algo.RegisterWeighter("joint_update_aware", newJointUpdate) }

// jointUpdate weighs the rows of a group jointly: rows that point towards the evaluation set,
// in diverse directions, get more weight. With z a row's hidden state, u the mean of the
// evaluation rows', s = Zu and S = ZZᵀ, the weights solve
//
//	max over the simplex of  sᵀw - (β/2)·wᵀSw + τ·H(w),   w = softmax((s - βSw)/τ)
//
// There is no paper: the method is DataFlex 1.1's.
//
// faithful: the group is the optimizer step, u is computed from the whole evaluation set, and
// the problem is solved exactly (`solver: exact`); the weights have mean 1 and the loss stays
// normalised by tokens. Rows without a target or a finite loss are left out.
// upstream: the group is a micro-batch, u is computed from target_num_batches batches of
// target_batch_size evaluation rows (by default a single row, the next one), and
// fixed_point_iters steps of w ← (1-ρ)w + ρ·softmax(…) are taken instead of solving, the result
// of which can be far from the solution (`solver: iterations`); the loss is the weighted sum of
// the rows' mean losses, divided by the number of micro-batches.
//
// Hidden states are computed in evaluation mode; u is recomputed every target_update_step
// steps. Without an evaluation set u is the mean of the group.
type jointUpdate struct {
	run                *algo.Run
	mode               algo.Mode
	beta, tau, damping float64
	iterations         int
	exact              bool
	objective, pooling string
	layer              int
	normalize          bool
	refresh            int
	batchSize, batches int // of u; batches 0 = all
	hidden             hiddenStates

	state jointUpdateState
}

// jointUpdateState is the state between steps.
type jointUpdateState struct {
	Target []float64 `json:"target,omitempty"` // the mean hidden state of the evaluation rows, not normalised
	Step   int       `json:"step"`             // of Target
	Next   int       `json:"next"`             // the next batch of evaluation rows
}

func newJointUpdate(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Weighter, error) {
	solver, batches := "exact", 0
	if mode == algo.Upstream {
		solver, batches = "iterations", 1
	}
	w := &jointUpdate{
		run: run, mode: mode, beta: p.Float("beta", 0.1), tau: p.Float("tau", 0.05), damping: p.Float("damping", 1),
		iterations: max(1, p.Int("fixed_point_iters", 5)), objective: p.String("objective_mode", "full"), pooling: p.String("pooling", "last_token"),
		layer: p.Int("embed_layer", -1), normalize: p.Bool("embed_normalize", true), refresh: max(1, p.Int("target_update_step", 50)),
		batchSize: max(1, p.Int("target_batch_size", 1)), batches: max(0, p.Int("target_num_batches", batches)),
	}
	solver = p.String("solver", solver)
	if err := p.Err(); err != nil {
		return nil, err
	}
	w.exact, w.hidden = solver == "exact", run.Model.Hidden
	layers := run.Model.Config().Layers
	switch {
	case solver != "exact" && solver != "iterations":
		return nil, p.Wrap("solver", fmt.Errorf("solver is exact or iterations, not %q", solver))
	case w.objective != "full" && w.objective != "align_only" && w.objective != "diverse_only" && w.objective != "uniform":
		return nil, p.Wrap("objective_mode", fmt.Errorf("objective_mode is full, align_only, diverse_only or uniform, not %q", w.objective))
	case w.pooling != "last_token" && w.pooling != "mean_pool":
		return nil, p.Wrap("pooling", fmt.Errorf("pooling is last_token or mean_pool, not %q", w.pooling))
	case !(w.tau > 0):
		return nil, p.Wrap("tau", fmt.Errorf("the temperature must be positive, not %v", w.tau))
	case !(w.damping > 0 && w.damping <= 1):
		return nil, p.Wrap("damping", fmt.Errorf("damping is above 0 and at most 1, not %v", w.damping))
	case w.exact && !(w.beta >= 0):
		return nil, p.Wrap("beta", fmt.Errorf("the solution is unique only for beta >= 0, not for %v", w.beta))
	case w.layer > layers || w.layer < -layers-1:
		return nil, p.Wrap("embed_layer", fmt.Errorf("the model has hidden states 0 to %d, or -1 to -%d from the end, not %d", layers, layers+1, w.layer))
	}
	if len(run.Eval) == 0 && w.aligns() {
		run.Log.Warn("joint_update_aware has no eval_dataset: rows are aligned with the mean of their own group")
	}
	return w, nil
}

// aligns reports whether the objective includes the evaluation rows.
func (w *jointUpdate) aligns() bool { return w.objective == "full" || w.objective == "align_only" }

// group is rows that are weighed jointly, as positions in the request.
type group struct {
	micro, row []int
	z          [][]float64
}

// Weigh computes the hidden states of the step's rows, after those of the evaluation rows if
// they are due.
func (w *jointUpdate) Weigh(ctx context.Context, r algo.WeightRequest) ([][]float64, algo.Reduction, error) {
	nameBroken(w.run.Log, w.run.Train, r)
	out := perMicro(r)
	groups, err := w.groups(ctx, r)
	if err != nil {
		return nil, 0, fmt.Errorf("weighter joint_update_aware at step %d: %w", r.Step, err)
	}
	for _, g := range groups {
		weights, err := w.solve(ctx, r.Step, g.z)
		if err != nil {
			return nil, 0, fmt.Errorf("weighter joint_update_aware at step %d: %w", r.Step, err)
		}
		for k, x := range weights {
			i, j := g.micro[k], g.row[k]
			if out[i][j] = x; !finite(lossOf(r, i, j)) {
				out[i][j] = 0
			}
		}
	}
	out, reduction := reduced(r, w.mode, out)
	return out, reduction, nil
}

// groups are the micro-batches, or the whole step.
func (w *jointUpdate) groups(ctx context.Context, r algo.WeightRequest) ([]group, error) {
	var all []group
	// Upstream's loss with label smoothing takes the labels out of the batch before the rows are
	// pooled, so mean_pool has no labels to go by and takes all tokens.
	unlabelled := w.mode == algo.Upstream && w.run.Smooths
	embed := func(m batch.Micro) ([][]float64, error) { return w.embed(m, w.run.Train, unlabelled) }
	err := vectors(ctx, w.run, "vectors of rows", r.Micros, embed, func(i int, z [][]float64) {
		m := r.Micros[i]
		if len(all) == 0 || w.mode == algo.Upstream {
			all = append(all, group{})
		}
		g := &all[len(all)-1]
		for j := range m.Rows {
			if w.mode == algo.Faithful && (m.Labelled[j] == 0 || !finite(r.Loss[i][j])) {
				continue
			}
			if w.normalize {
				normalize(z[j])
			}
			g.micro, g.row, g.z = append(g.micro, i), append(g.row, j), append(g.z, z[j])
		}
	})
	return all, err
}

// solve is the weights of rows with hidden states z; their sum is 1.
func (w *jointUpdate) solve(ctx context.Context, step int, z [][]float64) ([]float64, error) {
	n := len(z)
	if n <= 1 || w.objective == "uniform" {
		return even(n), nil
	}
	s := make([]float64, n)
	if w.aligns() {
		u, err := w.target(ctx, step, z)
		if err != nil {
			return nil, err
		}
		for i := range z {
			s[i] = inner(z[i], u)
		}
	}
	beta := w.beta
	if w.objective == "align_only" {
		beta = 0
	}
	gram := make([][]float64, n)
	for i := range gram {
		gram[i] = make([]float64, n)
		for j := range i + 1 {
			gram[i][j] = inner(z[i], z[j])
			gram[j][i] = gram[i][j]
		}
	}
	if w.exact {
		return solveExactly(s, gram, beta, w.tau)
	}
	weights := even(n)
	for range w.iterations {
		weights = damped(weights, response(s, gram, beta, w.tau, weights), w.damping)
	}
	return weights, nil
}

// target is u, from the evaluation rows if there are any.
func (w *jointUpdate) target(ctx context.Context, step int, z [][]float64) ([]float64, error) {
	last := &w.state
	due := last.Target == nil || step-last.Step >= w.refresh
	if len(w.run.Eval) == 0 {
		due = due || w.mode == algo.Faithful // the mean of this very group
	}
	if due {
		var err error
		if len(w.run.Eval) == 0 {
			last.Target = meanOf(z)
		} else if last.Target, err = w.nextTarget(ctx); err != nil {
			return nil, fmt.Errorf("evaluation rows: %w", err)
		}
		last.Step = step
	}
	u := append([]float64(nil), last.Target...)
	if w.normalize {
		normalize(u)
	}
	return u, nil
}

// nextTarget is the mean hidden state of the next batches of evaluation rows.
func (w *jointUpdate) nextTarget(ctx context.Context) ([]float64, error) {
	loader := (len(w.run.Eval) + w.batchSize - 1) / w.batchSize // batches in the evaluation set
	count := w.batches
	if count == 0 {
		count, w.state.Next = loader, 0
	}
	var picked []data.Example
	for range count {
		b := w.state.Next % loader
		w.state.Next = b + 1
		picked = append(picked, w.run.Eval[b*w.batchSize:min((b+1)*w.batchSize, len(w.run.Eval))]...)
	}
	z := make([][]float64, len(picked))
	batches := batch.ByLength(picked, feature.DefaultTokens)
	micros := make([]batch.Micro, len(batches))
	for b, rows := range batches {
		micros[b] = batch.Pack(picked, rows)
	}
	embed := func(m batch.Micro) ([][]float64, error) { return w.embed(m, picked, false) }
	if err := vectors(ctx, w.run, "vectors of the evaluation rows", micros, embed, func(b int, v [][]float64) {
		for i, r := range batches[b] {
			z[r] = v[i]
		}
	}); err != nil {
		return nil, err
	}
	mean := meanOf(z)
	for _, x := range mean {
		if !finite(x) {
			return nil, fmt.Errorf("the mean of their hidden states is %v: leave the row that is not finite out of eval_dataset", x)
		}
	}
	return mean, nil
}

// embed returns the pooled hidden state of every row of a micro-batch; mean_pool is over the
// positions with a label, or over all if the rows are unlabelled.
func (w *jointUpdate) embed(m batch.Micro, examples []data.Example, unlabelled bool) ([][]float64, error) {
	rows, err := w.hidden.rows(w.run, m, w.layer)
	if err != nil {
		return nil, err
	}
	dim := w.run.Model.Config().Hidden
	out := make([][]float64, len(rows))
	for i, states := range rows {
		out[i] = make([]float64, dim)
		if w.pooling == "last_token" {
			for j, x := range states[len(states)-dim:] {
				out[i][j] = float64(x)
			}
			continue
		}
		labels := examples[m.Rows[i]].Labels
		if unlabelled {
			labels = make([]int32, len(labels))
		}
		labelled(out[i], states, labels)
	}
	return out, nil
}

// labelled sets mean [dim] to the mean of states [tokens, dim] over the positions with a label.
func labelled(mean []float64, states []float32, labels []int32) {
	n := 0
	for t := range len(states) / len(mean) {
		if labels[t] < 0 {
			continue
		}
		n++
		for j, x := range states[t*len(mean) : (t+1)*len(mean)] {
			mean[j] += float64(x)
		}
	}
	for j := range mean {
		mean[j] /= float64(max(n, 1))
	}
}

// State is the mean of the evaluation rows, which was computed with earlier weights, and the
// position of the next batch.
func (w *jointUpdate) State() (json.RawMessage, error) { return json.Marshal(w.state) }

// Restore restores State.
func (w *jointUpdate) Restore(raw json.RawMessage) error {
	var s jointUpdateState
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	if n := w.run.Model.Config().Hidden; s.Target != nil && len(s.Target) != n {
		return fmt.Errorf("the checkpoint's mean hidden state has %d numbers, this model %d", len(s.Target), n)
	}
	w.state = s
	return nil
}

func normalize(v []float64) {
	length := max(math.Sqrt(inner(v, v)), 1e-12)
	for i := range v {
		v[i] /= length
	}
}

func inner(x, y []float64) float64 {
	var s float64
	for i, v := range x {
		s += v * y[i]
	}
	return s
}

func meanOf(z [][]float64) []float64 {
	mean := make([]float64, len(z[0]))
	for _, v := range z {
		for j, x := range v {
			mean[j] += x / float64(len(z))
		}
	}
	return mean
}

func even(n int) []float64 {
	w := make([]float64, n)
	for i := range w {
		w[i] = 1 / float64(n)
	}
	return w
}
