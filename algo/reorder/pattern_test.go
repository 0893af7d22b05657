package reorder

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// twenty are scores whose order is 0, 3, 6, …
func twenty() []float64 {
	s := make([]float64, 20)
	for i := range s {
		s[i] = float64(7*i%20) / 20
	}
	return s
}

func pattern(kind Kind, set ...func(*Pattern)) Pattern {
	p := Default(kind)
	for _, f := range set {
		f(&p)
	}
	return p
}

// Regression 15: the results of upstream's own patterns on twenty rows (DataFlex 1.1.0).
func TestRegression15Patterns(t *testing.T) {
	layers := func(n int) func(*Pattern) { return func(p *Pattern) { p.Layers = n } }
	around := func(sections int, radius float64) func(*Pattern) {
		return func(p *Pattern) { p.Sections, p.Radius = sections, radius }
	}
	window := func(p *Pattern) { p.Window = 5 }
	for _, c := range []struct {
		p    Pattern
		want []int
	}{
		{pattern(Shuffle), []int{19, 5, 14, 4, 9, 13, 15, 18, 6, 12, 17, 10, 1, 11, 2, 16, 7, 8, 0, 3}},
		{pattern(Folding, layers(3)), []int{0, 9, 18, 7, 16, 5, 14, 3, 12, 1, 10, 19, 8, 17, 6, 15, 4, 13, 2, 11}},
		{pattern(Zigzag, layers(3)), []int{0, 9, 18, 7, 16, 5, 14, 17, 8, 19, 10, 1, 12, 3, 6, 15, 4, 13, 2, 11}},
		{pattern(Segment), []int{3, 0, 7, 16, 1, 4, 11, 8, 5, 13, 10, 9, 12, 2, 15, 18, 19, 6, 17, 14}},
		{pattern(Stair, around(2, .225), layers(3)), []int{0, 3, 6, 9, 12, 15, 18, 7, 16, 1, 10, 19, 4, 13, 2, 5, 8, 11, 14, 17}},
		{pattern(Saw, around(3, .075), layers(2)), []int{0, 3, 6, 9, 12, 15, 1, 4, 18, 7, 10, 13, 19, 2, 16, 5, 8, 11, 14, 17}},
		{pattern(Sorting, window), []int{12, 6, 9, 3, 0, 4, 15, 18, 1, 7, 16, 2, 10, 13, 19, 11, 17, 5, 14, 8}},
	} {
		if err := c.p.Check(); err != nil {
			t.Errorf("%s: %v", c.p.Kind, err)
		}
		if got := c.p.Order(twenty()); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.p.Kind, got, c.want)
		}
	}
	// Equal scores: the official code keeps their order under descending, upstream does not.
	down := pattern(Sorting, func(p *Pattern) { p.Descending = true })
	if got := down.Order([]float64{1, 1, 0, 0}); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("official %v", got)
	}
	down.ReverseTies = true
	if got := down.Order([]float64{1, 1, 0, 0}); !slices.Equal(got, []int{1, 0, 3, 2}) {
		t.Errorf("upstream %v", got)
	}
	for _, c := range []struct {
		p    Pattern
		want string
	}{
		{pattern(Saw, around(3, .2)), "overlap"},
		{pattern(Folding, layers(0)), "layers"},
		{pattern("wave"), "sorting"},
		{pattern(Stair, around(0, .1)), "num_sections"},
		{pattern(Sorting, func(p *Pattern) { p.Window = -1 }), "window_size"},
	} {
		if err := c.p.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.p, err)
		}
	}
}

var all = []Pattern{
	pattern(Sorting), pattern(Folding), pattern(Zigzag),
	pattern(Stair, func(p *Pattern) { p.Radius = .1 }), pattern(Saw, func(p *Pattern) { p.Sections, p.Radius = 3, .075 }),
}

// pass serves n rows in steps, by the scores at each.
func pass(p Pattern, n, step int, scores func(t int) []float64) (out []int) {
	rows := identity(n)
	for len(rows) > 0 {
		now := scores(len(out))
		of := make([]float64, len(rows))
		for i, r := range rows {
			of[i] = now[r]
		}
		served := p.Match(n, rows, of)[:min(step, len(rows))]
		out = append(out, served...)
		rows = slices.DeleteFunc(rows, func(r int) bool { return slices.Contains(served, r) })
	}
	return out
}

// Regressions 16 and 17: a pass with constant scores is the pattern; with changing ones
// it has every row once, and a saw still descends in its first half.
func TestRegression16And17RankMatching(t *testing.T) {
	const n = 400
	r := rand.New(rand.NewPCG(1, 2))
	fixed := make([]float64, n)
	for i := range fixed {
		fixed[i] = r.Float64()
	}
	for _, p := range all {
		if got := pass(p, n, 37, func(int) []float64 { return fixed }); !slices.Equal(got, p.Order(fixed)) {
			t.Errorf("%s: a pass by constant scores is not the pattern", p.Kind)
		}
		got := pass(p, n, 37, func(t int) []float64 {
			s := make([]float64, n)
			for i := range s {
				s[i] = fixed[i] + .3*math.Sin(float64(t+i))
			}
			return s
		})
		if sorted := slices.Sorted(slices.Values(got)); !slices.Equal(sorted, identity(n)) {
			t.Errorf("%s: a pass by changing scores is no permutation", p.Kind)
		}
	}
	saw, descents := all[4], 0
	served := pass(saw, n, 20, func(int) []float64 { return fixed })
	for i := 1; i < n/2; i++ {
		if fixed[served[i]] < fixed[served[i-1]] {
			descents++
		}
	}
	if descents == 0 {
		t.Error("a saw of three sections ascends without a break for half of the pass")
	}
}
