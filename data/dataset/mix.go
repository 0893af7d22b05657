package dataset

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/data/rng"
)

// Mix is a mix_strategy.
type Mix string

// The strategies: one dataset after the other, or alternating until the first (under) or the
// last is exhausted, where one that ends before either starts over (over) or is passed by, so
// that every row is taken once (once; LLaMA-Factory has it from 0.9.5 on).
const (
	Concat          Mix = "concat"
	InterleaveUnder Mix = "interleave_under"
	InterleaveOver  Mix = "interleave_over"
	InterleaveOnce  Mix = "interleave_once"
)

// Group is the rows of one dataset: samples, or values that stand for them.
type Group[T any] struct {
	Name    string
	Samples []T
}

// Collect makes a group of each name. load is called for every occurrence of a name, and its
// last result is used at the name's first position: upstream keeps datasets by name, so that
// one listed twice is loaded once, but num_samples is drawn again.
func Collect[T any](names []string, load func(name string) ([]T, error)) ([]Group[T], error) {
	var out []Group[T]
	place := map[string]int{}
	for _, name := range names {
		at, again := place[name]
		if !again {
			at = len(out)
			place[name] = at
			out = append(out, Group[T]{Name: name})
		}
		var err error
		if out[at].Samples, err = load(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Repeated warns of names that are listed more than once.
func Repeated(names []string) []string {
	var out []string
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			out = append(out, fmt.Sprintf("dataset %s is listed more than once and is loaded once; to weigh it more, set num_samples in its entry of %s", name, InfoFile))
		}
	}
	return out
}

// Sampled applies num_samples (0 = none), which draws from random, and then
// max_samples (0 = all) to the rows of a dataset.
func Sampled[T any](rows []T, numSamples, maxSamples int, random *rng.RandomState) []T {
	if numSamples > 0 {
		rows = draw(rows, numSamples, random)
	}
	if maxSamples > 0 && len(rows) > maxSamples {
		rows = rows[:maxSamples]
	}
	return rows
}

// draw takes n rows: the first of a permutation, and beyond the dataset's length
// further ones with replacement.
func draw[T any](rows []T, n int, random *rng.RandomState) []T {
	out := make([]T, 0, n)
	for _, i := range random.Permutation(len(rows))[:min(n, len(rows))] {
		out = append(out, rows[i])
	}
	if more := n - len(out); more > 0 {
		for _, i := range random.Randint(0, int64(len(rows)), more) {
			out = append(out, rows[i])
		}
	}
	return out
}

// choiceBlock is how many values interleaving draws from NumPy at once.
const choiceBlock = 1000

// Merge combines datasets. With probs (they sum to 1, one per dataset) the next dataset is
// drawn by NumPy's default_rng(seed), without it they alternate.
// A single dataset is returned unchanged.
func Merge[T any](sets []Group[T], mix Mix, probs []float64, seed uint64) ([]T, error) {
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

func checkMix[T any](sets []Group[T], mix Mix, probs []float64) error {
	known := []string{string(Concat), string(InterleaveUnder), string(InterleaveOver), string(InterleaveOnce)}
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

func concat[T any](sets []Group[T]) []T {
	total := 0
	for _, s := range sets {
		total += len(s.Samples)
	}
	out := make([]T, 0, total)
	for _, s := range sets {
		out = append(out, s.Samples...)
	}
	return out
}

func takeTurns[T any](sets []Group[T], mix Mix) []T {
	rounds := len(sets[0].Samples)
	for _, s := range sets[1:] {
		if mix == InterleaveUnder {
			rounds = min(rounds, len(s.Samples))
		} else {
			rounds = max(rounds, len(s.Samples))
		}
	}
	out := make([]T, 0, rounds*len(sets))
	for i := range rounds {
		for _, s := range sets {
			if mix != InterleaveOnce || i < len(s.Samples) {
				out = append(out, s.Samples[i%len(s.Samples)])
			}
		}
	}
	return out
}

func drawTurns[T any](sets []Group[T], mix Mix, probs []float64, seed uint64) ([]T, error) {
	if i := slices.Index(probs, 0); i >= 0 && mix != InterleaveUnder {
		return nil, fmt.Errorf("interleave_probs gives dataset %s probability 0, so that %s, which ends when every dataset is exhausted, would never end", sets[i].Name, mix)
	}
	random := rng.NewPCG64(seed)
	next := make([]int, len(sets))
	exhausted := make([]bool, len(sets))
	left := len(sets)
	if mix == InterleaveUnder {
		left = 1
	}
	var out []T
	for {
		turns, err := random.Choice(len(sets), choiceBlock, true, probs)
		if err != nil {
			return nil, fmt.Errorf("interleave_probs: %w", err)
		}
		for _, d := range turns {
			if left == 0 {
				return out, nil
			}
			if exhausted[d] && mix == InterleaveOnce {
				continue
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

// Split holds out the evaluation set (val_size): size < 1 is a fraction, rounded up, from 1 on
// a number of samples; up to 1e-6 there is none. The samples are first permuted by NumPy's
// default_rng(seed).permutation; the evaluation set is the head and the training set the rest,
// so that both are shuffled.
func Split[T any](samples []T, size float64, seed uint64) (train, eval []T, err error) {
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
	shuffled := make([]T, n)
	for i, from := range order {
		shuffled[i] = samples[from]
	}
	return shuffled[count:], shuffled[:count:count], nil
}

// StreamedSources is the order in which a stream takes concatenated datasets: Hugging Face's
// IterableDataset.shuffle shuffles the sources, by NumPy's default_rng(seed), before the rows.
// Interleaved ones stay.
func StreamedSources[T any](sets []Group[T], mix Mix, seed uint64) []Group[T] {
	if mix != "" && mix != Concat {
		return sets
	}
	out := slices.Clone(sets)
	rng.NewPCG64(seed).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// StreamOrder is the order in which a streamed dataset of n rows leaves a shuffle buffer
// (Hugging Face's IterableDataset.shuffle, first epoch): the buffer is filled, then each row
// replaces a drawn one, which is emitted; the remaining ones are shuffled at the end. The draws
// are those of NumPy's default_rng(seed), a thousand at once.
func StreamOrder(n, buffer int, seed uint64) []int {
	random := rng.NewPCG64(seed)
	held := make([]int, 0, min(buffer, n))
	out := make([]int, 0, n)
	var places []int64
	for row := range n {
		if len(held) < buffer {
			held = append(held, row)
			continue
		}
		if len(places) == 0 {
			places = random.Integers(0, int64(buffer), choiceBlock)
		}
		at := places[0]
		places = places[1:]
		out = append(out, held[at])
		held[at] = row
	}
	random.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
	return append(out, held...)
}
