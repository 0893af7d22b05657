// Package reorder orders rows for training by a score: "Demystifying Data Organization for
// Enhanced LLM Training" (2026, arXiv:2605.30334), as in the official code
// (microsoft/data-efficacy) and in DataFlex 1.1. Everything in this file is a function of
// positions and scores.
package reorder

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/data/rng"
)

// Kind names a pattern.
type Kind string

// The patterns, of rows sorted by score.
const (
	Shuffle Kind = "shuffle" // scores are not used
	Sorting Kind = "sorting"
	Folding Kind = "folding" // every L-th row, L times
	Zigzag  Kind = "zigzag"  // the same, with every second group reversed
	Stair   Kind = "stair"   // sorted, with folding around the boundaries of sections
	Saw     Kind = "saw"     // sorted, with zigzag around the boundaries of sections
	Segment Kind = "segment" // the lowest scores, the middle, the highest, each shuffled
)

// Kinds are all patterns.
var Kinds = []Kind{Shuffle, Sorting, Folding, Zigzag, Stair, Saw, Segment}

// Pattern is an order by score.
type Pattern struct {
	Kind       Kind
	Descending bool
	// ReverseTies reverses the order of rows with equal scores under Descending, as upstream
	// does; the official code keeps their order.
	ReverseTies bool

	Layers      int     // of folding and zigzag, and around boundaries
	Sections    int     // of stair and saw
	Radius      float64 // around a boundary, as a share of all rows
	Front, Back float64 // of segment, in percent
	FrontHigh   bool
	BackHigh    bool
	Window      int // above 1: rows are shuffled within windows of this size
	Seed        uint64
}

// Default is a pattern with the official code's parameters.
func Default(kind Kind) Pattern {
	p := Pattern{Kind: kind, Layers: 5, Sections: 2, Front: 10, Back: 10, BackHigh: true, Seed: 42}
	if kind == Stair || kind == Saw {
		p.Layers = 2
	}
	return p
}

// Check returns what is wrong with the parameters.
func (p Pattern) Check() error {
	switch {
	case !slices.Contains(Kinds, p.Kind):
		return fmt.Errorf("pattern is one of %v, not %q", Kinds, p.Kind)
	case p.Layers < 1:
		return fmt.Errorf("layers: at least 1, not %d", p.Layers)
	case p.Sections < 1:
		return fmt.Errorf("num_sections: at least 1, not %d", p.Sections)
	case !(p.Radius >= 0):
		return fmt.Errorf("folding_ratio: a share of the rows cannot be %v", p.Radius)
	case p.Window < 0:
		return fmt.Errorf("window_size: %d rows", p.Window)
	case !(p.Front >= 0 && p.Back >= 0):
		return fmt.Errorf("x_pct and y_pct: shares in percent cannot be %v and %v", p.Front, p.Back)
	case (p.Kind == Stair || p.Kind == Saw) && p.Sections > 1 && p.Radius > 0 && 2*p.Radius >= 1/float64(p.Sections):
		return fmt.Errorf("the regions around the borders overlap: twice folding_ratio (%v) must be below 1/num_sections (%v)", 2*p.Radius, 1/float64(p.Sections))
	}
	return nil
}

// Order is the positions 0 to n-1 of rows with these scores, in the order of training. The
// scores must not be NaN; shuffle only needs their number.
func (p Pattern) Order(scores []float64) []int {
	return p.jitter(p.arrange(p.sorted(scores)))
}

// sorted is the positions by score.
func (p Pattern) sorted(scores []float64) []int {
	order := identity(len(scores))
	if p.Kind == Shuffle {
		return order
	}
	slices.SortStableFunc(order, func(a, b int) int {
		c := cmp.Compare(scores[a], scores[b])
		if p.Descending && !p.ReverseTies {
			return -c
		}
		return c
	})
	if p.Descending && p.ReverseTies {
		slices.Reverse(order)
	}
	return order
}

func identity(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// arrange applies the pattern to sorted rows.
func (p Pattern) arrange(sorted []int) []int {
	switch p.Kind {
	case Shuffle:
		shuffle(rng.NewPython(p.Seed), sorted)
		return sorted
	case Folding, Zigzag:
		return fold(sorted, p.Layers, p.Kind == Zigzag)
	case Stair, Saw:
		return p.sections(sorted)
	case Segment:
		return p.segments(sorted)
	}
	return sorted
}

// fold is every layers-th row, from each of the first layers rows on; as a zigzag every second
// group is reversed.
func fold(rows []int, layers int, zigzag bool) []int {
	out := make([]int, 0, len(rows))
	for l := range min(layers, len(rows)) {
		first := len(out)
		for i := l; i < len(rows); i += layers {
			out = append(out, rows[i])
		}
		if zigzag && l%2 == 1 {
			slices.Reverse(out[first:])
		}
	}
	return out
}

// sections folds around the boundaries of equal sections.
func (p Pattern) sections(rows []int) []int {
	n := len(rows)
	if n == 0 || p.Sections == 1 || p.Radius == 0 {
		return rows
	}
	var out []int
	radius, done := int(math.RoundToEven(float64(n)*p.Radius)), 0
	for s := 1; s < p.Sections; s++ {
		border := int(math.RoundToEven(float64(n*s) / float64(p.Sections)))
		lo, hi := max(done, border-radius), min(n, border+radius)
		out = append(out, rows[done:lo]...)
		out = append(out, fold(rows[lo:hi], p.Layers, p.Kind == Saw)...)
		done = hi
	}
	return append(out, rows[done:]...)
}

// segments takes the front and the back from the two ends of the scores.
func (p Pattern) segments(rows []int) []int {
	n := len(rows)
	front, back := int(math.Floor(float64(n)*p.Front/100)), int(math.Floor(float64(n)*p.Back/100))
	if front+back > n {
		front = int(float64(front) * (float64(n) / float64(front+back)))
		back = n - front
	}
	g := rng.NewPython(p.Seed)
	take := func(from []int, k int, high bool) (taken, rest []int) {
		if high {
			return slices.Clone(from[len(from)-k:]), from[:len(from)-k]
		}
		return slices.Clone(from[:k]), from[k:]
	}
	var first, last, middle []int
	if p.FrontHigh == p.BackHigh {
		var both []int
		both, middle = take(rows, front+back, p.FrontHigh)
		shuffle(g, both)
		first, last = both[:front], both[front:]
	} else {
		first, middle = take(rows, front, p.FrontHigh)
		last, middle = take(middle, back, p.BackHigh)
	}
	for _, part := range [][]int{first, middle, last} {
		shuffle(g, part)
	}
	return slices.Concat(first, middle, last)
}

func shuffle(g interface {
	Shuffle(n int, swap func(i, j int))
}, x []int,
) {
	g.Shuffle(len(x), func(i, j int) { x[i], x[j] = x[j], x[i] })
}

// jitter shuffles within windows, with a single random stream.
func (p Pattern) jitter(rows []int) []int {
	if p.Window <= 1 {
		return rows
	}
	g := rng.NewPCG64(p.Seed)
	for part := range slices.Chunk(rows, p.Window) {
		shuffle(g, part)
	}
	return rows
}

// Match continues a pattern over a whole pass of n rows whose scores change: rows are the
// remaining ones, with their current scores. They are sorted, and so are the ranks that the
// pattern has at positions from n-len(rows) on; the k-th row takes the place of the k-th rank. If
// scores do not change, the pass has the pattern however often it is continued.
func (p Pattern) Match(n int, rows []int, scores []float64) []int {
	ranks := p.jitter(p.arrange(identity(n)))[n-len(rows):]
	places := identity(len(ranks))
	slices.SortFunc(places, func(a, b int) int { return ranks[a] - ranks[b] })
	out := make([]int, len(rows))
	for k, i := range p.sorted(scores) {
		out[places[k]] = rows[i]
	}
	return out
}
