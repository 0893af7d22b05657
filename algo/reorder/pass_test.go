package reorder

import (
	"context"
	"math"
	"slices"
	"testing"
)

func passOver(t *testing.T, p Pattern, head bool, every int) *Pass {
	t.Helper()
	score := func(_ context.Context, rows []int, step int) ([]float64, error) {
		out := make([]float64, len(rows))
		for i, r := range rows {
			if out[i] = math.Sin(float64(7*r + step)); r%9 == 0 {
				out[i] = math.NaN()
			}
		}
		return out, nil
	}
	s, err := NewPass(Pass{Pattern: p, Head: head, Every: every, Score: score}, identity(60))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A pass has every row once, warm-up included, and continues after a restart; upstream's
// warm-up is NumPy's draw.
func TestPass(t *testing.T) {
	for _, head := range []bool{false, true} {
		for _, every := range []int{1, 2} {
			for _, p := range all {
				straight, current := passOver(t, p, head, every), passOver(t, p, head, every)
				var served []int
				for k := range 6 {
					next := func(s *Pass) []int {
						if k == 0 {
							out, err := s.Warmup(10)
							if err != nil {
								t.Fatal(err)
							}
							return out
						}
						out, err := s.Next(t.Context(), k, 10)
						if err != nil {
							t.Fatal(err)
						}
						return out
					}
					want := next(straight)
					raw, err := current.State()
					if err != nil {
						t.Fatal(err)
					}
					current = passOver(t, p, head, every)
					if err := current.Restore(raw); err != nil {
						t.Fatal(err)
					}
					if got := next(current); !slices.Equal(got, want) {
						t.Errorf("%s, resumed after %d: %v, want %v", p.Kind, k, got, want)
					}
					served = append(served, want...)
				}
				if !slices.Equal(slices.Sorted(slices.Values(served)), identity(60)) {
					t.Errorf("%s, head %v, every %d: served %v", p.Kind, head, every, served)
				}
			}
		}
	}
	s, err := NewPass(Pass{Pattern: Default(Sorting), Every: 1}, identity(10))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Warmup(4); err != nil || !slices.Equal(got, []int{4, 0, 5, 6}) { // default_rng(42).choice(10, 4, replace=False)
		t.Errorf("warm-up %v, %v", got, err)
	}
}
