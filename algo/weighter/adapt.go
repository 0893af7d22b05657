package weighter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/feature"
)

func init() { algo.RegisterWeighter("adapt", newAdapt) }

// adapt weighs rows by their similarity to an anchor set, the rows of eval_dataset: ADAPT,
// Rethinking Data Curation in LLM Training: Online Reweighting Offers Better Generalization
// (ICLR 2026). With φ the unit vector of a row, its hidden states after the final norm averaged
// with weights 1, 2, 3, … by position,
//
//	w = σ(mean over the anchors of φ·φ_a / τ), at most clip
//
// Anchors are recomputed at steps divisible by refresh_interval. Hidden states are computed in
// evaluation mode; further arithmetic is float64.
//
// faithful: the weights are scaled to mean 1 over the optimizer step, and the loss stays
// normalised by tokens. upstream: the loss is the plain sum of w times the rows' mean losses,
// divided by the number of micro-batches.
type adapt struct {
	run     *algo.Run
	mode    algo.Mode
	tau     float64
	refresh int
	clip    float64   // +Inf for none
	anchor  []float64 // mean of the anchors' vectors; nil before the first use
	hidden  hiddenStates
}

func newAdapt(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Weighter, error) {
	w := &adapt{run: run, mode: mode, tau: p.Float("tau", 1), refresh: p.Int("refresh_interval", 50), clip: p.Float("clip", math.Inf(1))}
	p.Int("anchor_batch_size", 8) // batches here are limited by tokens
	if err := p.Err(); err != nil {
		return nil, err
	}
	switch {
	case !(w.tau >= 0):
		return nil, p.Wrap("tau", fmt.Errorf("a temperature cannot be negative: %v", w.tau))
	case w.refresh < 1:
		return nil, p.Wrap("refresh_interval", fmt.Errorf("at least 1 step, not %d", w.refresh))
	case !(w.clip > 0):
		return nil, p.Wrap("clip", fmt.Errorf("an upper bound of the weights must be positive, not %v", w.clip))
	case len(run.Eval) == 0:
		return nil, p.Wrap("name", fmt.Errorf("adapt compares rows with an anchor set: set eval_dataset"))
	}
	w.tau = max(w.tau, 1e-8)
	w.hidden = run.Model.Hidden
	return w, nil
}

// Weigh computes the vectors of the step's rows, after those of the anchors if they are due.
func (w *adapt) Weigh(ctx context.Context, r algo.WeightRequest) ([][]float64, algo.Reduction, error) {
	nameBroken(w.run.Log, w.run.Train, r)
	if w.anchor == nil || r.Step%w.refresh == 0 {
		if err := w.refreshAnchor(ctx); err != nil {
			return nil, 0, fmt.Errorf("weighter adapt at step %d: anchors: %w", r.Step, err)
		}
	}
	out := perMicro(r)
	err := vectors(ctx, w.run, "vectors of rows", r.Micros, w.embed, func(i int, vectors [][]float64) {
		for j, v := range vectors {
			out[i][j] = w.weight(v)
			if !finite(lossOf(r, i, j)) {
				out[i][j] = 0
			}
		}
	})
	if err != nil {
		return nil, 0, fmt.Errorf("weighter adapt at step %d: %w", r.Step, err)
	}
	out, reduction := reduced(r, w.mode, out)
	return out, reduction, nil
}

// weight is σ(φ·mean of the anchors/τ): the mean of the inner products.
func (w *adapt) weight(v []float64) float64 {
	return min(1/(1+math.Exp(-inner(v, w.anchor)/w.tau)), w.clip)
}

// refreshAnchor computes the anchors' mean vector with the current weights.
func (w *adapt) refreshAnchor(ctx context.Context) error {
	mean := make([]float64, w.run.Model.Config().Hidden)
	n := 0
	batches := batch.ByLength(w.run.Eval, feature.DefaultTokens)
	micros := make([]batch.Micro, len(batches))
	for b, rows := range batches {
		micros[b] = batch.Pack(w.run.Eval, rows)
	}
	err := vectors(ctx, w.run, "vectors of the anchors", micros, w.embed, func(b int, vectors [][]float64) {
		for i, v := range vectors {
			if !slices.ContainsFunc(v, func(x float64) bool { return !finite(x) }) {
				n++
				for j, x := range v {
					mean[j] += x
				}
				continue
			}
			id := w.run.Eval[batches[b][i]].ID
			w.run.Log.Warn("an anchor's vector is not finite: it is left out", "dataset", id.Dataset, "row", id.Row)
		}
	})
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("none of them has a finite vector")
	}
	for j := range mean {
		mean[j] /= float64(n)
	}
	w.anchor = mean
	return nil
}

// embed returns the unit vector of every row of a micro-batch.
func (w *adapt) embed(m batch.Micro) ([][]float64, error) {
	rows, err := w.hidden.rows(w.run, m, -1)
	if err != nil {
		return nil, err
	}
	out := make([][]float64, len(rows))
	for i, states := range rows {
		out[i] = positioned(states, w.run.Model.Config().Hidden)
	}
	return out, nil
}

// positioned returns the average of hidden states [tokens, dim] with weights 1, 2, 3, …, scaled
// to length 1; a zero vector stays zero.
func positioned(h []float32, dim int) []float64 {
	const epsilon = 1e-8 // upstream's, in both divisions
	v := make([]float64, dim)
	var total float64
	for t := 0; t*dim < len(h); t++ {
		total += float64(t + 1)
		for i, x := range h[t*dim : (t+1)*dim] {
			v[i] += float64(t+1) * float64(x)
		}
	}
	var square float64
	for i := range v {
		v[i] /= max(total, epsilon)
		square += v[i] * v[i]
	}
	for i := range v {
		v[i] /= max(math.Sqrt(square), epsilon)
	}
	return v
}

type adaptState struct {
	Anchor []float64 `json:"anchor,omitempty"`
}

// State is the anchors' mean vector, which was computed with earlier weights.
func (w *adapt) State() (json.RawMessage, error) { return json.Marshal(adaptState{w.anchor}) }

// Restore restores State.
func (w *adapt) Restore(raw json.RawMessage) error {
	var s adaptState
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	if n := w.run.Model.Config().Hidden; s.Anchor != nil && len(s.Anchor) != n {
		return fmt.Errorf("the checkpoint's anchor vector has %d numbers, this model %d", len(s.Anchor), n)
	}
	w.anchor = s.Anchor
	return nil
}
