package rng

import (
	"fmt"
	"math/bits"
)

// Random draws n doubles uniform on [0, 1): Generator.random(n).
func (g *PCG64) Random(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = g.Float64()
	}
	return out
}

// Float64 is Generator.random().
func (g *PCG64) Float64() float64 { return float64(g.Uint64()>>11) / (1 << 53) }

// Integers draws n integers from [lo, hi): Generator.integers(lo, hi, n). It panics when hi <= lo.
func (g *PCG64) Integers(lo, hi int64, n int) []int64 {
	if hi <= lo {
		panic(fmt.Sprintf("rng: Integers: empty range [%d, %d)", lo, hi))
	}
	out := make([]int64, n)
	for i := range out {
		out[i] = lo + int64(g.lemire(uint64(hi-lo)-1))
	}
	return out
}

// lemire draws from 0..limit by Lemire's multiplication with rejection.
func (g *PCG64) lemire(limit uint64) uint64 {
	switch {
	case limit == 0:
		return 0
	case limit == 0xffffffff:
		return uint64(g.Uint32())
	case limit == 1<<64-1:
		return g.Uint64()
	case limit < 0xffffffff:
		n := uint32(limit) + 1
		m := uint64(g.Uint32()) * uint64(n)
		if uint32(m) < n {
			threshold := -n % n
			for uint32(m) < threshold {
				m = uint64(g.Uint32()) * uint64(n)
			}
		}
		return m >> 32
	}
	n := limit + 1
	hi, lo := bits.Mul64(g.Uint64(), n)
	if lo < n {
		threshold := -n % n
		for lo < threshold {
			hi, lo = bits.Mul64(g.Uint64(), n)
		}
	}
	return hi
}

// Permutation is Generator.permutation(n).
func (g *PCG64) Permutation(n int) []int { return permutation(g, n) }

// Shuffle is Generator.shuffle of n things that swap exchanges.
func (g *PCG64) Shuffle(n int, swap func(i, j int)) { shuffle(g, n, swap) }

// Choice is Generator.choice(n, k, replace, p): k of 0..n-1. p nil is uniform; otherwise
// it has n entries that sum to 1.
func (g *PCG64) Choice(n, k int, replace bool, p []float64) ([]int, error) {
	if err := checkChoice(n, k, replace, p); err != nil {
		return nil, err
	}
	switch {
	case p != nil && replace:
		return pickReplace(p, k, g.Float64), nil
	case p != nil:
		return pickDistinct(p, k, g.Float64), nil
	case replace:
		out := make([]int, k)
		for i := range out {
			out[i] = int(g.lemire(uint64(n) - 1))
		}
		return out, nil
	}
	return g.choiceDistinct(n, k), nil
}

// choiceDistinct is Generator.choice(n, k, replace=False): a tail shuffle for large
// shares of large populations, else Floyd's sampling followed by a shuffle.
func (g *PCG64) choiceDistinct(n, k int) []int {
	if n > 10000 && k > n/50 {
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		g.shuffleFrom(all, max(n-k, 1))
		return append([]int(nil), all[n-k:]...)
	}
	out := make([]int, 0, k)
	seen := make(map[int]struct{}, k)
	for j := n - k; j < n; j++ {
		v := int(g.lemire(uint64(j)))
		if _, dup := seen[v]; dup {
			v = j
		}
		seen[v] = struct{}{}
		out = append(out, v)
	}
	g.shuffleFrom(out, 1)
	return out
}

// shuffleFrom is NumPy's _shuffle_int: exchanges positions len-1 down to first.
func (g *PCG64) shuffleFrom(p []int, first int) {
	for i := len(p) - 1; i >= first; i-- {
		j := int(g.lemire(uint64(i)))
		p[i], p[j] = p[j], p[i]
	}
}
