package rng

// words are the random words of a generator.
type words interface {
	Uint32() uint32
	Uint64() uint64
}

// masked draws from 0..limit by masked rejection: NumPy's random_interval, and on the legacy
// generator also randint's.
func masked(g words, limit uint64) uint64 {
	if limit == 0 {
		return 0
	}
	mask := maskOf(limit)
	for {
		var v uint64
		if limit <= 0xffffffff {
			v = uint64(g.Uint32()) & mask
		} else {
			v = g.Uint64() & mask
		}
		if v <= limit {
			return v
		}
	}
}

// maskOf returns the smallest 2^b - 1 that is >= limit.
func maskOf(limit uint64) uint64 {
	for shift := 1; shift < 64; shift *= 2 {
		limit |= limit >> shift
	}
	return limit
}

// shuffle is Fisher-Yates from the last element down, as NumPy's generators do it.
func shuffle(g words, n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, int(masked(g, uint64(i))))
	}
}

// permutation returns 0..n-1, shuffled.
func permutation(g words, n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	shuffle(g, n, func(i, j int) { p[i], p[j] = p[j], p[i] })
	return p
}
