package dataset

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"dataflex/data"
	"dataflex/data/rng"
)

// Mix is a mix_strategy.
type Mix string

// The strategies: one dataset after the other, or by turns until the first (under)
// or the last (over) is exhausted.
const (
	Concat          Mix = "concat"
	InterleaveUnder Mix = "interleave_under"
	InterleaveOver  Mix = "interleave_over"
)

// choiceBlock is how many draws interleaving takes from NumPy at once.
const choiceBlock = 1000

// Merge puts datasets together. With probs (they sum to 1, one per dataset) the next
// dataset is drawn by NumPy's default_rng(seed), without it they take turns; an
// exhausted one starts over. A single dataset is returned as it is.
func Merge(sets []Named, mix Mix, probs []float64, seed uint64) ([]data.Sample, error) {
	if mix == "" {
		mix = Concat
	}
	if err := checkMix(sets, mix, probs); err != nil {
		return nil, err
	}
	if len(sets) == 1 {
		return sets[0].Samples, nil
	}
	switch {
	case mix == Concat:
		return concat(sets), nil
	case probs == nil:
		return takeTurns(sets, mix), nil
	}
	return drawTurns(sets, mix, probs, seed)
}

func checkMix(sets []Named, mix Mix, probs []float64) error {
	known := []string{string(Concat), string(InterleaveUnder), string(InterleaveOver)}
	if !slices.Contains(known, string(mix)) {
		return fmt.Errorf("unknown mixing strategy: mix_strategy is %s%s", mix, nearest(string(mix), known))
	}
	if len(sets) == 0 {
		return errors.New("no dataset to mix")
	}
	if probs == nil {
		return nil
	}
	if mix == Concat {
		return errors.New("`interleave_probs` is only valid for interleaved mixing: set mix_strategy to interleave_under or interleave_over")
	}
	if len(probs) != len(sets) {
		return fmt.Errorf("the length of dataset and interleave probs should be identical: there are %d datasets (a name listed twice is one) and %d probabilities", len(sets), len(probs))
	}
	sum := 0.0
	for _, p := range probs {
		if !(p >= 0 && p <= 1) {
			return fmt.Errorf("interleave_probs holds %v; every probability lies between 0 and 1", p)
		}
		sum += p
	}
	if math.Abs(sum-1) > 1e-8 {
		return fmt.Errorf("interleave_probs sum to %v; they must sum to 1", sum)
	}
	return nil
}

func concat(sets []Named) []data.Sample {
	total := 0
	for _, s := range sets {
		total += len(s.Samples)
	}
	out := make([]data.Sample, 0, total)
	for _, s := range sets {
		out = append(out, s.Samples...)
	}
	return out
}

func takeTurns(sets []Named, mix Mix) []data.Sample {
	rounds := len(sets[0].Samples)
	for _, s := range sets[1:] {
		if mix == InterleaveUnder {
			rounds = min(rounds, len(s.Samples))
		} else {
			rounds = max(rounds, len(s.Samples))
		}
	}
	out := make([]data.Sample, 0, rounds*len(sets))
	for i := range rounds {
		for _, s := range sets {
			out = append(out, s.Samples[i%len(s.Samples)])
		}
	}
	return out
}

func drawTurns(sets []Named, mix Mix, probs []float64, seed uint64) ([]data.Sample, error) {
	if i := slices.Index(probs, 0); i >= 0 && mix == InterleaveOver {
		return nil, fmt.Errorf("interleave_probs gives dataset %s probability 0, so that interleave_over, which ends when every dataset is exhausted, would never end", sets[i].Name)
	}
	random := rng.NewPCG64(seed)
	next := make([]int, len(sets))
	exhausted := make([]bool, len(sets))
	left := len(sets)
	if mix == InterleaveUnder {
		left = 1
	}
	var out []data.Sample
	for {
		turns, err := random.Choice(len(sets), choiceBlock, true, probs)
		if err != nil {
			return nil, fmt.Errorf("interleave_probs: %w", err)
		}
		for _, d := range turns {
			if left == 0 {
				return out, nil
			}
			out = append(out, sets[d].Samples[next[d]])
			if next[d]++; next[d] == len(sets[d].Samples) {
				next[d] = 0
				if !exhausted[d] {
					exhausted[d] = true
					left--
				}
			}
		}
	}
}

// Split takes the evaluation set off (val_size): size < 1 is a share, rounded up,
// from 1 on a number of samples; up to 1e-6 there is none. The samples are first put
// into the order of NumPy's default_rng(seed).permutation; the evaluation set is its
// head, the training set the rest, so that this too is shuffled.
func Split(samples []data.Sample, size float64, seed uint64) (train, eval []data.Sample, err error) {
	if size <= 1e-6 {
		return samples, nil, nil
	}
	n := len(samples)
	count := int(size)
	if size < 1 {
		count = int(math.Ceil(size * float64(n)))
	}
	if count >= n {
		return nil, nil, fmt.Errorf("val_size %v takes %d of %d samples and leaves none to train on; make it smaller", size, count, n)
	}
	order := rng.NewPCG64(seed).Permutation(n)
	shuffled := make([]data.Sample, n)
	for i, from := range order {
		shuffled[i] = samples[from]
	}
	return shuffled[count:], shuffled[:count:count], nil
}
