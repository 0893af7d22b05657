package train

import "dataflex/data/rng"

// Window is the rows being trained on: the whole data set, or what a warm-up
// draw or a selection gave. It is a checkpoint's record of the position in the
// data; which rows a step takes is a function of it, the plan and the seed.
type Window struct {
	Start   int   `json:"start"`             // the step it opened at
	Indices []int `json:"indices,omitempty"` // nil: the whole data set, pass after pass
}

// order lists the window's rows in training order for its e-th reading.
func (w Window) order(p Plan, seed uint64, e int, shuffle bool) []int {
	n := p.Rows
	if w.Indices != nil {
		n = len(w.Indices)
	}
	order := make([]int, n)
	if shuffle {
		order = rng.NewTorch(seed + uint64(e)).Randperm(n)
	} else {
		for i := range order {
			order[i] = i
		}
	}
	if w.Indices != nil {
		for i, j := range order {
			order[i] = w.Indices[j]
		}
	}
	return order
}

// sampler deals a window's rows out in micro-batches.
type sampler struct {
	plan    Plan
	seed    uint64
	shuffle bool

	window Window
	epoch  int
	rows   []int // the order of the current reading, nil before the first
}

func (s *sampler) open(w Window) { s.window, s.rows = w, nil }

// step is the micro-batches of an optimizer step. A window that holds fewer rows
// than are asked of it is read again in a new order.
func (s *sampler) step(step int) [][]int {
	n := s.plan.Rows
	if s.window.Indices != nil {
		n = len(s.window.Indices)
	}
	micro := (n + s.plan.Micro - 1) / s.plan.Micro
	per := max(1, (micro+s.plan.Accumulate-1)/s.plan.Accumulate)
	epoch, at := (step-s.window.Start)/per, (step-s.window.Start)%per
	if s.rows == nil || epoch != s.epoch {
		s.rows, s.epoch = s.window.order(s.plan, s.seed, epoch, s.shuffle), epoch
	}
	var out [][]int
	for i := at * s.plan.Accumulate; i < min((at+1)*s.plan.Accumulate, micro); i++ {
		out = append(out, s.rows[i*s.plan.Micro:min((i+1)*s.plan.Micro, n)])
	}
	return out
}
