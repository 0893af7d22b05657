package rng

import (
	"fmt"
	"math"
	"sort"
)

// checkChoice mirrors the checks of NumPy's choice.
func checkChoice(n, k int, replace bool, p []float64) error {
	if n <= 0 || k < 0 {
		return fmt.Errorf("choice: cannot draw %d of %d", k, n)
	}
	if p == nil {
		if !replace && k > n {
			return fmt.Errorf("choice: cannot draw %d of %d without replacement", k, n)
		}
		return nil
	}
	if len(p) != n {
		return fmt.Errorf("choice: %d probabilities for %d entries", len(p), n)
	}
	var sum float64
	positive := 0
	for i, x := range p {
		if !(x >= 0) {
			return fmt.Errorf("choice: probability %d is %v", i, x)
		}
		if x > 0 {
			positive++
		}
		sum += x
	}
	if math.Abs(sum-1) > 1.5e-8 { // NumPy's sqrt(eps)
		return fmt.Errorf("choice: probabilities sum to %v, not 1", sum)
	}
	if !replace && k > positive {
		return fmt.Errorf("choice: cannot draw %d without replacement: only %d probabilities are positive", k, positive)
	}
	return nil
}

// normalisedSums is np.cumsum(p) divided by its last entry.
func normalisedSums(p []float64) []float64 {
	cdf := make([]float64, len(p))
	var sum float64
	for i, x := range p {
		sum += x
		cdf[i] = sum
	}
	for i := range cdf {
		cdf[i] /= sum
	}
	return cdf
}

// searchRight is np.searchsorted(cdf, u, side="right").
func searchRight(cdf []float64, u float64) int {
	return sort.Search(len(cdf), func(i int) bool { return cdf[i] > u })
}

func pickReplace(p []float64, k int, uniform func() float64) []int {
	cdf := normalisedSums(p)
	out := make([]int, k)
	for i := range out {
		out[i] = searchRight(cdf, uniform())
	}
	return out
}

// pickDistinct draws in rounds: as many uniforms as are still needed, new entries in order of
// first appearance, their probabilities set to 0 for the next round.
func pickDistinct(p []float64, k int, uniform func() float64) []int {
	p = append([]float64(nil), p...)
	found := make([]int, 0, k)
	draws := make([]float64, k)
	for len(found) < k {
		round := draws[:k-len(found)]
		for i := range round {
			round[i] = uniform()
		}
		for _, i := range found {
			p[i] = 0
		}
		cdf := normalisedSums(p)
		seen := make(map[int]bool, len(round))
		for _, u := range round {
			if i := searchRight(cdf, u); !seen[i] {
				seen[i] = true
				found = append(found, i)
			}
		}
	}
	return found
}
