package rng

import (
	"fmt"
	"math"
	"math/bits"
)

// Python is CPython's random.Random(seed) (checked against Python 3.11).
type Python struct{ mt mt19937 }

// NewPython seeds a generator with a non-negative int.
func NewPython(seed uint64) *Python {
	g := new(Python)
	key := []uint32{uint32(seed)}
	if seed >= 1<<32 {
		key = append(key, uint32(seed>>32))
	}
	g.mt.seedKey(key)
	return g
}

// Float64 is random(): uniform on [0, 1).
func (g *Python) Float64() float64 { return g.mt.float64() }

// Getrandbits is getrandbits(k), k in 0..64.
func (g *Python) Getrandbits(k int) uint64 {
	if k < 0 || k > 64 {
		panic(fmt.Sprintf("rng: Getrandbits: %d bits, must be 0..64", k))
	}
	var v uint64
	for shift := 0; shift < k; shift += 32 {
		w := g.mt.Uint32()
		if left := k - shift; left < 32 {
			w >>= 32 - left
		}
		v |= uint64(w) << shift
	}
	return v
}

// Intn is _randbelow(n), n > 0, which randrange, randint and choice use.
func (g *Python) Intn(n int) int {
	if n <= 0 {
		panic(fmt.Sprintf("rng: Intn: %d is not positive", n))
	}
	k := bits.Len(uint(n))
	for {
		if v := g.Getrandbits(k); v < uint64(n) {
			return int(v)
		}
	}
}

// Shuffle is shuffle of n things that swap exchanges.
func (g *Python) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, g.Intn(i+1))
	}
}

// Sample is sample(range(n), k), 0 <= k <= n.
func (g *Python) Sample(n, k int) []int {
	if k < 0 || k > n {
		panic(fmt.Sprintf("rng: Sample: %d of %d", k, n))
	}
	out := make([]int, k)
	setSize := 21.0 // from here CPython records what it drew instead of copying the population
	if k > 5 {
		setSize += math.Pow(4, math.Ceil(math.Log(float64(k*3))/math.Log(4)))
	}
	if float64(n) <= setSize {
		pool := make([]int, n)
		for i := range pool {
			pool[i] = i
		}
		for i := range out {
			j := g.Intn(n - i)
			out[i] = pool[j]
			pool[j] = pool[n-i-1]
		}
		return out
	}
	seen := make(map[int]bool, k)
	for i := range out {
		j := g.Intn(n)
		for seen[j] {
			j = g.Intn(n)
		}
		seen[j] = true
		out[i] = j
	}
	return out
}
