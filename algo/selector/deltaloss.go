package selector

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/rng"
)

func init() { algo.RegisterSelector("delta_loss", newDeltaLoss) }

// deltaLoss draws rows by how much their loss has decreased since the first selection: over the
// updates of a Flex epoch, a window slides from the rows with the largest decrease to those
// with the smallest. There is no paper; both modes follow DataFlex:
//
//	first selection: randperm(n; 42)[:k]; the losses are stored
//	later: δ = first loss - loss now, sorted in descending order;
//	  x = (update-1)/(updates-1), start = σ(10(x-½))·(n-wn), end = start+wn, both
//	  truncated, end not beyond the first δ < 0; weight 1 inside, 0.025 outside;
//	  multinomial without replacement, seed 42 + step
//
// The first losses are state of the method and are stored in checkpoints. With a single update
// per Flex epoch x is 0 in faithful mode; upstream divides by zero at the second Flex epoch,
// which mode upstream refuses at the start. A row without a loss has weight 0 in faithful mode
// and 0.025 upstream.
type deltaLoss struct {
	run     *algo.Run
	mode    algo.Mode
	window  float64
	dir     string
	initial []float64 // per pool row; nil before the first selection
}

// Cost is a loss of every row.
func (s *deltaLoss) Cost() algo.Cost { return algo.Cost{Forward: 1} }

func newDeltaLoss(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Selector, error) {
	s := &deltaLoss{run: run, mode: mode, window: p.Float("window_size", 0.2), dir: p.String("cache_dir", "")}
	p.Int("score_batch_size", 1)  // batches here are limited by tokens
	p.Int("score_num_workers", 2) // rows are already in memory
	if err := p.Err(); err != nil {
		return nil, err
	}
	if s.window < 0 || s.window > 1 {
		return nil, p.Wrap("window_size", fmt.Errorf("the window is a share of the pool between 0 and 1, not %v", s.window))
	}
	if mode == algo.Upstream && s.updates() == 1 && run.Updates > 1 {
		return nil, p.Wrap("window_size", fmt.Errorf("with update_times: 1 upstream's delta_loss divides by zero in the second Flex epoch: set update_times to 2 or more, num_train_epochs to 1, or mode: faithful"))
	}
	return s, nil
}

func (s *deltaLoss) CacheDir() string { return s.dir }

// Reuse is off until there are first losses: with a first choice taken from disk, they would be
// unknown.
func (s *deltaLoss) Reuse() bool { return s.initial != nil }

type deltaLossState struct {
	Initial []byte `json:"initial"` // .npy of float32; absent before the first selection
}

// State is the first losses.
func (s *deltaLoss) State() (json.RawMessage, error) {
	if s.initial == nil {
		return json.Marshal(deltaLossState{})
	}
	return json.Marshal(deltaLossState{Initial: packFloats(s.initial)})
}

// Restore restores the first losses.
func (s *deltaLoss) Restore(raw json.RawMessage) error {
	var st deltaLossState
	if err := json.Unmarshal(raw, &st); err != nil {
		return err
	}
	s.initial = nil // also restores the state before a first selection that failed
	if st.Initial == nil {
		return nil
	}
	var err error
	if s.initial, err = unpackFloats(st.Initial, len(s.run.Train)); err != nil {
		return fmt.Errorf("first losses: %w", err)
	}
	return nil
}

func (s *deltaLoss) Select(ctx context.Context, r algo.Request) (algo.Selection, error) {
	p := poolOf(s.run, r)
	if s.initial == nil {
		return s.begin(ctx, p, r)
	}
	losses, err := p.losses(ctx, s.run, r.Step)
	if err != nil {
		return algo.Selection{}, err
	}
	sel, err := s.choose(losses, p, r)
	sel.Indices, sel.Score = p.positions(sel.Indices), p.spread(sel.Score)
	return sel, err
}

// begin is the first selection: it stores every row's loss, whatever the pool, and draws.
func (s *deltaLoss) begin(ctx context.Context, p pool, r algo.Request) (algo.Selection, error) {
	losses, err := poolOf(s.run, algo.Request{}).losses(ctx, s.run, r.Step)
	if err != nil {
		return algo.Selection{}, err
	}
	s.initial = losses
	n := len(p.examples)
	if r.N > n {
		return algo.Selection{}, fmt.Errorf("selector delta_loss at step %d: %d rows of a pool of %d", r.Step, r.N, n)
	}
	return algo.Selection{
		Indices: p.positions(rng.NewTorch(defaultSeed).Randperm(n)[:r.N]),
		Metric:  map[string][]float64{"loss": losses}, Scored: len(losses),
	}, nil
}

// choose draws among the pool's rows, given their losses.
func (s *deltaLoss) choose(losses []float64, rows pool, r algo.Request) (algo.Selection, error) {
	delta := deltas(pick(s.initial, rows.all()), losses)
	if err := scored(s.run.Log, rows.examples, delta); err != nil && s.mode == algo.Faithful {
		return algo.Selection{}, err
	}
	p, available := s.probabilities(delta, r.Update)
	replacement := r.N > available
	if replacement {
		s.run.Log.Warn("fewer rows can be drawn than the window needs: drawing with replacement", "rows", available, "needed", r.N)
	}
	indices, err := rng.NewTorch(defaultSeed+uint64(r.Step)).Multinomial(p, r.N, replacement)
	if err != nil {
		return algo.Selection{}, fmt.Errorf("selector delta_loss at step %d: %w", r.Step, err)
	}
	return algo.Selection{
		Indices: indices, Metric: map[string][]float64{"delta_loss": pick(delta, indices)}, Score: delta, Scored: len(losses),
	}, nil
}

// deltas is the decrease of every row's loss in float32; NaN where either loss is unknown.
func deltas(first, now []float64) []float64 {
	d := make([]float64, len(now))
	for i := range d {
		d[i] = float64(float32(first[i]) - float32(now[i]))
		if math.IsInf(d[i], 0) {
			d[i] = math.NaN()
		}
	}
	return d
}

func (s *deltaLoss) updates() int {
	if s.run.UpdatesPerEpoch > 0 {
		return s.run.UpdatesPerEpoch
	}
	return s.run.Updates
}

// bounds is the window, in rows of the descending order, before clipping.
func (s *deltaLoss) bounds(n, update int) (start, end int) {
	x := float64(update-1) / float64(max(1, s.updates()-1))
	width := s.window * float64(n)
	from := 1 / (1 + math.Exp(-10*(x-0.5))) * (float64(n) - width)
	return int(from), int(from + width)
}

func (s *deltaLoss) probabilities(delta []float64, update int) (p []float32, available int) {
	const outside = 0.025
	order := make([]int, len(delta))
	for i := range order {
		order[i] = i
	}
	key := func(i int) float64 {
		if math.IsNaN(delta[i]) {
			return math.Inf(-1)
		}
		return delta[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(key(b), key(a)) })
	start, end := s.bounds(len(delta), update)
	if i := slices.IndexFunc(order, func(i int) bool { return key(i) < 0 }); i >= 0 {
		end = min(end, i)
	}
	s.run.Log.Info("delta_loss window", "update", update, "of", s.updates(), "from", start, "to", max(start, end), "rows", len(delta))
	p = make([]float32, len(delta))
	var sum float64
	for rank, i := range order {
		p[i] = outside
		switch {
		case start <= rank && rank < end:
			p[i] = 1
		case math.IsNaN(delta[i]) && s.mode == algo.Faithful:
			p[i] = 0
		}
		if sum += float64(p[i]); p[i] > 0 {
			available++
		}
	}
	for i := range p {
		p[i] /= float32(sum)
	}
	return p, available
}
