package curriculum

import (
	"cmp"
	"math"
	"slices"

	"dataflex.dev/dataflex/data/rng"
)

// grouped groups rows by their domain, of k domains, keeping their order.
func grouped(rows, domain []int, k int) [][]int {
	out := make([][]int, k)
	for _, r := range rows {
		out[domain[r]] = append(out[domain[r]], r)
	}
	return out
}

// quotas divides n in proportion to shares, which sum to 1: the integer parts, and the
// remainder to the largest fractions, the first of equal ones first.
func quotas(shares []float64, n int) []int {
	out := make([]int, len(shares))
	rest := n
	order := make([]int, len(shares))
	for i, p := range shares {
		out[i], order[i] = int(math.Floor(p*float64(n))), i
		rest -= out[i]
	}
	slices.SortStableFunc(order, func(a, b int) int {
		fraction := func(i int) float64 { return shares[i]*float64(n) - float64(out[i]) }
		return cmp.Compare(fraction(b), fraction(a))
	})
	for _, i := range order[:min(max(rest, 0), len(order))] {
		out[i]++
	}
	return out
}

// draw draws n distinct rows of a pool, divided among the domains by shares. What a domain
// lacks is filled from the rest of the pool, unless rows may be repeated. The random draws are
// those of upstream's MixStage.
func draw(g *rng.PCG64, pool, domain []int, shares []float64, n int, repeat bool) ([]int, error) {
	groups := grouped(pool, domain, len(shares))
	var out []int
	short := 0
	for d, want := range quotas(shares, n) {
		group := groups[d]
		if want == 0 {
			continue
		}
		if len(group) == 0 {
			short += want
			continue
		}
		var at []int
		switch {
		case want <= len(group) || repeat:
			var err error
			if at, err = g.Choice(len(group), want, want > len(group), nil); err != nil {
				return nil, err
			}
		default:
			at = g.Permutation(len(group))
			short += want - len(group)
		}
		for _, i := range at {
			out = append(out, group[i])
		}
	}
	if short == 0 {
		return out, nil
	}
	taken := make(map[int]bool, len(out))
	for _, r := range out {
		taken[r] = true
	}
	rest := slices.DeleteFunc(slices.Clone(pool), func(r int) bool { return taken[r] })
	extra, err := choose(g, rest, min(short, len(rest)))
	return append(out, extra...), err
}

// reshaped returns how many rows of a pool can be drawn in the given shares before the scarcest
// domain is exhausted, but at least `least`, or the whole pool if it is smaller.
func reshaped(pool, domain []int, shares []float64, least int) int {
	n := len(pool)
	for d, group := range grouped(pool, domain, len(shares)) {
		if shares[d] > 0 {
			n = min(n, int(float64(len(group))/shares[d]))
		}
	}
	return max(n, min(least, len(pool)))
}

// choose draws n rows, distinct unless there are fewer.
func choose(g *rng.PCG64, rows []int, n int) ([]int, error) {
	if n == 0 {
		return nil, nil
	}
	at, err := g.Choice(len(rows), n, n > len(rows), nil)
	if err != nil {
		return nil, err
	}
	out := make([]int, n)
	for i, j := range at {
		out[i] = rows[j]
	}
	return out, nil
}
