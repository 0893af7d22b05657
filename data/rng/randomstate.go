package rng

import (
	"fmt"
	"math"
)

// RandomState is NumPy's legacy generator, numpy.random.RandomState(seed) or, after
// numpy.random.seed(seed), the global one (checked against NumPy 1.26.4).
type RandomState struct {
	mt       mt19937
	gauss    float64 // second half of the last polar pair
	hasGauss bool
}

// NewRandomState seeds a generator with a seed below 2^32, NumPy's own limit.
func NewRandomState(seed uint32) *RandomState {
	g := new(RandomState)
	g.mt.seedWord(seed)
	return g
}

// Float64 is random_sample(): uniform on [0, 1).
func (g *RandomState) Float64() float64 { return g.mt.float64() }

// Random draws n doubles uniform on [0, 1): rand(n).
func (g *RandomState) Random(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = g.Float64()
	}
	return out
}

// Randint draws n integers from [lo, hi): randint(lo, hi, n). It panics when hi <= lo.
func (g *RandomState) Randint(lo, hi int64, n int) []int64 {
	if hi <= lo {
		panic(fmt.Sprintf("rng: Randint: empty range [%d, %d)", lo, hi))
	}
	out := make([]int64, n)
	for i := range out {
		out[i] = lo + int64(masked(&g.mt, uint64(hi-lo)-1))
	}
	return out
}

// Permutation is permutation(n).
func (g *RandomState) Permutation(n int) []int { return permutation(&g.mt, n) }

// Shuffle is shuffle of n things that swap exchanges.
func (g *RandomState) Shuffle(n int, swap func(i, j int)) { shuffle(&g.mt, n, swap) }

// Choice is choice(n, k, replace, p): k of 0..n-1. p nil is uniform; otherwise it has n
// entries that sum to 1.
func (g *RandomState) Choice(n, k int, replace bool, p []float64) ([]int, error) {
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
			out[i] = int(masked(&g.mt, uint64(n)-1))
		}
		return out, nil
	}
	return g.Permutation(n)[:k], nil
}

// Normal is standard_normal(): Marsaglia's polar method, the pair's second half kept.
func (g *RandomState) Normal() float64 {
	if g.hasGauss {
		g.hasGauss = false
		return g.gauss
	}
	for {
		x1 := 2*g.Float64() - 1
		x2 := 2*g.Float64() - 1
		r2 := x1*x1 + x2*x2
		if r2 < 1 && r2 != 0 {
			f := math.Sqrt(-2 * math.Log(r2) / r2)
			g.gauss, g.hasGauss = f*x1, true
			return f * x2
		}
	}
}

// Exponential is standard_exponential().
func (g *RandomState) Exponential() float64 { return -math.Log(1 - g.Float64()) }

// Gamma is standard_gamma(shape), shape >= 0: Ahrens-Dieter below 1, Marsaglia-Tsang above.
func (g *RandomState) Gamma(shape float64) float64 {
	switch {
	case shape == 1:
		return g.Exponential()
	case shape == 0:
		return 0
	case shape < 1:
		for {
			u := g.Float64()
			v := g.Exponential()
			if u <= 1-shape {
				if x := math.Pow(u, 1/shape); x <= v {
					return x
				}
				continue
			}
			y := -math.Log((1 - u) / shape)
			if x := math.Pow(1-shape+shape*y, 1/shape); x <= v+y {
				return x
			}
		}
	}
	b := shape - 1.0/3
	c := 1 / math.Sqrt(9*b)
	for {
		x := g.Normal()
		v := 1 + c*x
		for v <= 0 {
			x = g.Normal()
			v = 1 + c*x
		}
		v = v * v * v
		u := g.Float64()
		if u < 1-0.0331*(x*x)*(x*x) || math.Log(u) < 0.5*x*x+b*(1-v+math.Log(v)) {
			return b * v
		}
	}
}

// Dirichlet is dirichlet(alpha); every alpha is positive.
func (g *RandomState) Dirichlet(alpha []float64) []float64 {
	out := make([]float64, len(alpha))
	var sum float64
	for i, a := range alpha {
		out[i] = g.Gamma(a)
		sum += out[i]
	}
	for i := range out {
		out[i] *= 1 / sum
	}
	return out
}
