package selector

import (
	"context"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/data/torchsort"
)

func init() { algo.RegisterSelector("loss", newLoss) }

// loss draws rows with a weight that depends on their loss: losses up to the first quantile are
// low, up to the second medium, above it high; the band in focus has weight focusWeight, the
// others 1. There is no paper; both modes follow DataFlex. A row without a labelled token has
// no loss: faithful never draws it, upstream gives it weight 1e-12.
type loss struct {
	run         *algo.Run
	mode        algo.Mode
	focus       string
	focusWeight float64
	quantiles   [2]float64
	temperature float64
	replacement bool
	dir         string
}

// Cost is a loss of every row.
func (s *loss) Cost() algo.Cost { return algo.Cost{Forward: 1} }

func newLoss(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Selector, error) {
	s := &loss{
		run: run, mode: mode,
		focus:       p.String("focus", "high"),
		focusWeight: p.Float("focus_weight", 5),
		temperature: p.Float("temperature", 1),
		replacement: p.Bool("replacement", false),
		dir:         p.String("cache_dir", ""),
	}
	q := p.Floats("quantiles", []float64{0.33, 0.66})
	p.Int("score_batch_size", 1)  // batches here are limited by tokens
	p.Int("score_num_workers", 2) // rows are already in memory
	if err := p.Err(); err != nil {
		return nil, err
	}
	if len(q) != 2 || q[0] < 0 || q[1] > 1 || q[0] > q[1] {
		return nil, p.Wrap("quantiles", fmt.Errorf("two numbers 0 <= q1 <= q2 <= 1 are needed, not %v", q))
	}
	s.quantiles = [2]float64{q[0], q[1]}
	switch {
	case s.focus != "low" && s.focus != "medium" && s.focus != "high":
		return nil, p.Wrap("focus", fmt.Errorf("focus is low, medium or high, not %q", s.focus))
	case s.focusWeight < 0:
		return nil, p.Wrap("focus_weight", fmt.Errorf("a weight cannot be negative: %v", s.focusWeight))
	case s.temperature <= 0:
		return nil, p.Wrap("temperature", fmt.Errorf("a temperature must be positive, not %v", s.temperature))
	}
	return s, nil
}

func (s *loss) CacheDir() string { return s.dir }

func (s *loss) Reuse() bool { return true }

// ScoresRows marks that a row's score does not depend on the other rows.
func (s *loss) ScoresRows() {}

func (s *loss) Select(ctx context.Context, r algo.Request) (algo.Selection, error) {
	p := poolOf(s.run, r)
	losses, err := p.losses(ctx, s.run, r.Step)
	if err != nil {
		return algo.Selection{}, err
	}
	sel, err := s.choose(losses, p.examples, r)
	sel.Indices, sel.Score = p.positions(sel.Indices), p.spread(losses)
	return sel, err
}

// choose draws among rows, given their losses.
func (s *loss) choose(losses []float64, rows []data.Example, r algo.Request) (algo.Selection, error) {
	if err := scored(s.run.Log, rows, losses); err != nil && s.mode == algo.Faithful {
		return algo.Selection{}, err
	}
	p, available := s.probabilities(losses)
	replacement := s.replacement
	if !replacement && r.N > available {
		replacement = true
		s.run.Log.Warn("fewer rows can be drawn than the window needs: drawing with replacement", "rows", available, "needed", r.N)
	}
	indices, err := rng.NewTorch(defaultSeed+uint64(r.Step)).Multinomial(p, r.N, replacement)
	if err != nil {
		return algo.Selection{}, fmt.Errorf("selector loss at step %d: %w", r.Step, err)
	}
	metric := make([]float64, len(indices))
	for i, j := range indices {
		metric[i] = losses[j]
	}
	return algo.Selection{Indices: indices, Metric: map[string][]float64{"loss": metric}, Scored: len(losses)}, nil
}

// probabilities follows torch's float32 arithmetic step by step, so that a seeded draw takes
// the same rows.
func (s *loss) probabilities(losses []float64) (p []float32, available int) {
	var valid []float32
	for _, l := range losses {
		if !math.IsNaN(l) {
			valid = append(valid, float32(l))
		}
	}
	p = make([]float32, len(losses))
	if len(valid) == 0 {
		for i := range p {
			p[i] = 1 / float32(len(p))
		}
		return p, len(p)
	}
	q1 := torchsort.Quantile(valid, s.quantiles[0])
	q2 := torchsort.Quantile(valid, s.quantiles[1])
	var sum float32
	for i, l := range losses {
		p[i] = s.weight(l, q1, q2)
		sum += p[i]
		if p[i] > 0 {
			available++
		}
	}
	for i := range p {
		p[i] /= sum
	}
	return p, available
}

func (s *loss) weight(l float64, q1, q2 float32) float32 {
	const epsilon = 1e-12
	if math.IsNaN(l) {
		if s.mode == algo.Faithful {
			return 0
		}
		return float32(math.Pow(epsilon, 1/s.temperature))
	}
	band := "low"
	switch {
	case float32(l) > q2:
		band = "high"
	case float32(l) > q1:
		band = "medium"
	}
	w := float32(1)
	if band == s.focus {
		w = float32(s.focusWeight)
	}
	return float32(math.Pow(float64(w+epsilon), 1/s.temperature))
}
