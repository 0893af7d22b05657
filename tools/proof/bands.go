package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/tools/tasks"
)

// bandWindows is how often delta_loss selects.
const bandWindows = 5

// bandTrial checks whether the picks of loss and delta_loss are where the methods promise. The
// losses at the time of the choice are measured again, from the checkpoints of those steps, as
// dataflex-cli score does.
func bandTrial(ctx context.Context, l *lab, out *trial) error {
	pool, eval := l.pool(tasks.Target, 32)
	if err := l.data(map[string][]tasks.Row{"pool": pool, "eval": eval}); err != nil {
		return err
	}
	l.base = selects
	saving := keys{"save_strategy": "steps", "save_steps": 4, "update_step": 12}
	for i, focus := range []string{"low", "medium", "high"} {
		r, err := l.run(ctx, "loss-"+focus, saving, component{"loss", keys{"focus": focus}})
		if err != nil {
			return err
		}
		losses, err := l.losses(ctx, r, 4)
		if err != nil {
			return err
		}
		picks, err := r.picks()
		if err != nil {
			return err
		}
		out.set("loss "+focus, bandShare(losses, picks, i))
		hard := 0
		for _, p := range picks {
			if pool[p.Row].Noise || pool[p.Row].Family == tasks.Target {
				hard++
			}
		}
		out.set("loss "+focus+" hard", float64(hard)/float64(len(picks)))
	}
	return deltaTrial(ctx, l, out)
}

// bandShare is the share of the picks in the given third of the losses.
func bandShare(losses []float64, picks []pick, third int) float64 {
	sorted := slices.Sorted(slices.Values(losses))
	n := len(sorted)
	edges := []float64{math.Inf(-1), sorted[n*33/100], sorted[n*66/100], math.Inf(1)}
	in := 0
	for _, p := range picks {
		if x := losses[p.Row]; edges[third] < x && x <= edges[third+1] {
			in++
		}
	}
	return float64(in) / float64(len(picks))
}

// deltaTrial follows delta_loss's window: at update u of U it covers a fifth of the rows,
// starting at σ(10(x-½)) of the rest in the order of the decrease of their losses, x =
// (u-1)/(U-1), and no row whose loss rose. The first selection is random.
func deltaTrial(ctx context.Context, l *lab, out *trial) error {
	r, err := l.run(ctx, "delta_loss", keys{"save_strategy": "steps", "save_steps": 4, "update_step": 4, "update_times": bandWindows}, component{"delta_loss", keys{"window_size": windowSize}})
	if err != nil {
		return err
	}
	picks, err := r.picks()
	if err != nil {
		return err
	}
	first, err := l.losses(ctx, r, 4)
	if err != nil {
		return err
	}
	inside, all, open := 0, 0, 0
	for u := 2; u <= bandWindows; u++ {
		now, err := l.losses(ctx, r, 4*u)
		if err != nil {
			return err
		}
		place, fell := fallen(first, now)
		lo, hi := slidingWindow(u, len(first), fell)
		sum, n, in := 0.0, 0, 0
		for _, p := range picks {
			if p.Update != u {
				continue
			}
			n, sum = n+1, sum+float64(place[p.Row])/float64(len(first))
			if lo <= place[p.Row] && place[p.Row] < hi {
				in++
			}
		}
		out.Curves["delta_loss place"] = append(out.Curves["delta_loss place"], sum/float64(n))
		if lo < hi {
			inside, all, open = inside+in, all+n, open+1
		}
	}
	out.set("delta_loss inside", float64(inside)/float64(all))
	out.set("delta_loss windows", float64(open))
	out.set("delta_loss second", out.Curves["delta_loss place"][0])
	out.set("delta_loss third", out.Curves["delta_loss place"][1])
	return nil
}

// windowSize is the window's share of the rows.
const windowSize = 0.2

// slidingWindow is the window at update u, as positions in the order of n rows of which the
// first `fell` decreased.
func slidingWindow(u, n, fell int) (lo, hi int) {
	x := float64(u-1) / (bandWindows - 1)
	start := (1 - windowSize) * float64(n) / (1 + math.Exp(-10*(x-0.5)))
	return int(start), min(int(start+windowSize*float64(n)), fell)
}

// fallen is every row's position in the order of the decrease of its loss, largest first, and
// the number of rows whose loss did not rise.
func fallen(first, now []float64) (place []int, fell int) {
	order := make([]int, len(now))
	for i := range order {
		order[i] = i
		if now[i] <= first[i] {
			fell++
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(first[b]-now[b], first[a]-now[a]) })
	place = make([]int, len(now))
	for rank, i := range order {
		place[i] = rank
	}
	return place, fell
}

// losses scores the pool with the weights of a run's checkpoint.
func (l *lab) losses(ctx context.Context, r result, step int) ([]float64, error) {
	from := filepath.Join(r.dir, fmt.Sprintf("checkpoint-%d", step))
	dir := filepath.Join(filepath.Base(r.dir)+"-scores", fmt.Sprint(step))
	return l.score(ctx, dir, keys{"resume_from_checkpoint": from, "update_step": 4})
}

// score is the loss of every row of the configuration's data sets.
func (l *lab) score(ctx context.Context, name string, over keys) ([]float64, error) {
	cfg, err := l.load(name, over, component{"loss", keys{}})
	if err != nil {
		return nil, err
	}
	dir := cfg.Training.OutputDir
	if err := train.Score(ctx, cfg, train.Options{Log: l.log}, dir, train.Shard{Index: 1, Count: 1}); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	a, err := npy.Read(filepath.Join(dir, "scores.npy"))
	if err != nil {
		return nil, err
	}
	return a.Float64s(), nil
}
