package train

import (
	"slices"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/data/rng"
)

// sampler divides a window's rows into micro-batches.
type sampler struct {
	plan     Plan
	seed     uint64
	shuffle  bool
	dropLast bool
	groups   *lengthGroups // group_by_length; nil = no grouping

	window curriculum.Window
	epoch  int
	rows   []int // the order of the current pass over the window, nil before the first
}

// newSampler makes the sampler of a run's rows.
func newSampler(c *config.Config, plan Plan, groups *lengthGroups) sampler {
	s := sampler{plan: plan, seed: samplerSeed(c), shuffle: !c.Tuning.DisableShuffling && !c.Data.Streaming, dropLast: c.Training.DataloaderDropLast, groups: groups}
	if plan.Dynamic {
		s.window.Start = -1
	}
	return s
}

func samplerSeed(c *config.Config) uint64 {
	if c.Training.DataSeed != nil {
		return uint64(*c.Training.DataSeed)
	}
	return uint64(c.Training.Seed)
}

// at is the i-th row of the window.
func (s *sampler) at(i int) int {
	if s.window.Rows == nil {
		return i
	}
	return s.window.Rows[i]
}

func (s *sampler) open(w curriculum.Window) { s.window, s.rows = w, nil }

// holds reports whether the window that opens at a step has already been restored from the
// checkpoint from which the run resumes.
func (s *sampler) holds(step int) bool { return s.plan.Dynamic && s.window.Start == step }

// size is the number of rows of the window that are trained on in one pass over it.
func (s *sampler) size() int {
	n := s.plan.Rows
	if s.window.Rows != nil {
		n = len(s.window.Rows)
	}
	if s.dropLast {
		n -= n % (s.plan.Micro * s.plan.Ranks)
	}
	return n
}

// order lists the window's rows in training order for the e-th pass over it.
func (s *sampler) order(e int) []int {
	n := s.plan.Rows
	if s.window.Rows != nil {
		n = len(s.window.Rows)
	}
	order := make([]int, n)
	switch {
	case s.window.Ordered:
		return slices.Clone(s.window.Rows)
	case s.groups != nil && s.shuffle:
		order = s.groups.pass(e, n, s.at)
	case s.shuffle:
		order = rng.NewTorch(s.seed + uint64(e)).Randperm(n)
	default:
		for i := range order {
			order[i] = i
		}
	}
	for i, j := range order {
		order[i] = s.at(j)
	}
	return order
}

// dealt is a micro-batch and the logical rank that computes it.
type dealt struct {
	rows []int
	rank int
}

// step returns the micro-batches of an optimizer step. If a window has fewer rows than the
// steps need, further passes over it follow, in a new order unless the window is ordered.
func (s *sampler) step(step int) (out []dealt) {
	n, ranks := s.size(), s.plan.Ranks
	round := s.plan.Micro * ranks
	each := (n + round - 1) / round // micro-batches of a rank in one pass
	per := max(1, (each+s.plan.Accumulate-1)/s.plan.Accumulate)
	epoch, at := (step-s.window.Start)/per, (step-s.window.Start)%per
	if s.rows == nil || epoch != s.epoch {
		s.rows, s.epoch = filled(s.order(epoch)[:n], round, ranks), epoch
	}
	micros := (len(s.rows) + s.plan.Micro - 1) / s.plan.Micro
	take := s.plan.Accumulate * ranks
	for i := at * take; i < min((at+1)*take, micros); i++ {
		out = append(out, dealt{s.rows[i*s.plan.Micro : min((i+1)*s.plan.Micro, len(s.rows))], i % ranks})
	}
	return out
}

// filled is one pass, extended for several ranks to complete rounds of that many rows: the
// last round is filled with the first rows, repeatedly if necessary, as accelerate does
// (even_batches). With one rank nothing is added: its last micro-batch is short.
func filled(rows []int, round, ranks int) []int {
	if ranks == 1 || len(rows) == 0 {
		return rows
	}
	out := slices.Clone(rows)
	for first := rows[:min(len(rows), round)]; len(out)%round != 0; {
		out = append(out, first[:min(len(first), round-len(out)%round)]...)
	}
	return out
}
