package rng

import (
	"fmt"
	"math"

	"dataflex.dev/dataflex/data/torchsort"
)

// Torch is torch's CPU generator, torch.Generator().manual_seed(seed). Every method
// consumes the stream exactly as the torch function it names (checked against torch
// 2.7.1; on Intel CPUs torch itself takes Bernoulli and exponential from MKL).
type Torch struct {
	mt        mt19937
	cached    float64 // second half of the last scalar normal pair
	hasCached bool
}

// NewTorch seeds a generator; torch uses only the low 32 bits of the seed.
func NewTorch(seed uint64) *Torch {
	g := new(Torch)
	g.mt.seedWord(uint32(seed))
	return g
}

// Uint32 returns the next word of the stream.
func (g *Torch) Uint32() uint32 { return g.mt.Uint32() }

// Uint64 returns the next two words, the first one high.
func (g *Torch) Uint64() uint64 { return g.mt.Uint64() }

// Int63 is torch.empty((), dtype=torch.int64).random_(): how RandomSampler draws its seed.
func (g *Torch) Int63() int64 { return int64(g.mt.Uint64() & math.MaxInt64) }

// Double is uniform on [0, 1) with 53 bits (two words): torch.rand(dtype=float64).
func (g *Torch) Double() float64 {
	return float64(g.mt.Uint64()&(1<<53-1)) / (1 << 53)
}

// Float32 is uniform on [0, 1) with 24 bits (one word): torch.rand.
func (g *Torch) Float32() float32 {
	return float32(g.mt.Uint32()&(1<<24-1)) / (1 << 24)
}

// Uniform fills dst as Tensor.uniform_(from, to) does in float32. The multiplication and
// the addition are rounded once, as in torch's FMA build.
func (g *Torch) Uniform(dst []float32, from, to float32) {
	width := float64(to - from)
	for i := range dst {
		dst[i] = float32(float64(g.Float32())*width + float64(from))
	}
}

// Randint draws n integers from [lo, hi): torch.randint(lo, hi, (n,)). It panics when hi <= lo.
func (g *Torch) Randint(lo, hi, n int) []int {
	if hi <= lo {
		panic(fmt.Sprintf("rng: Randint: empty range [%d, %d)", lo, hi))
	}
	out := make([]int, n)
	span := uint64(hi - lo)
	for i := range out {
		if span >= 1<<28 { // from here torch spends two words on a draw
			out[i] = lo + int(g.mt.Uint64()%span)
		} else {
			out[i] = lo + int(uint64(g.mt.Uint32())%span)
		}
	}
	return out
}

// Randperm is torch.randperm(n): a Fisher-Yates shuffle from the front.
func (g *Torch) Randperm(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	const wide = math.MaxUint32 / 20 // from here torch draws 64 bits
	for i := 0; i < n-1; i++ {
		var z int
		if n < wide {
			z = int(g.mt.Uint32() % uint32(n-i))
		} else {
			z = int(g.mt.Uint64() % uint64(n-i))
		}
		p[i], p[i+z] = p[i+z], p[i]
	}
	return p
}

// Bernoulli is one element of Tensor.bernoulli_(p).
func (g *Torch) Bernoulli(p float64) bool { return g.Double() < p }

// Exponential is one element of Tensor.exponential_(lambda) in float32.
func (g *Torch) Exponential(lambda float64) float32 {
	return float32(-1 / lambda * math.Log1p(-g.Double()))
}

// Multinomial draws k of the indices of w: torch.multinomial(w, k, replacement). Weights are
// finite and not negative. Without replacement the indices come in descending order of w/Exp(1)
// (ties in torch's topk order); k must not exceed the number of positive weights, as torch
// requires for k > 1.
func (g *Torch) Multinomial(w []float32, k int, replacement bool) ([]int, error) {
	positive := 0
	for i, x := range w {
		if !(x >= 0) || math.IsInf(float64(x), 0) {
			return nil, fmt.Errorf("multinomial: weight %d is %v: weights must be finite and not negative", i, x)
		}
		if x > 0 {
			positive++
		}
	}
	switch {
	case k <= 0:
		return nil, fmt.Errorf("multinomial: cannot draw %d samples", k)
	case positive == 0:
		return nil, fmt.Errorf("multinomial: all %d weights are 0", len(w))
	case !replacement && k > positive:
		return nil, fmt.Errorf("multinomial: cannot draw %d samples without replacement from %d positive weights", k, positive)
	case replacement && k > 1:
		return g.multinomialReplace(w, k), nil
	}
	// torch uses this method for a single draw with replacement, too.
	q := make([]float32, len(w))
	for i, x := range w {
		q[i] = x / g.Exponential(1)
	}
	return torchsort.TopK(q, k), nil
}

func (g *Torch) multinomialReplace(w []float32, k int) []int {
	cum := make([]float32, len(w))
	var sum float32
	for i, x := range w {
		sum += x
		cum[i] = sum
	}
	for i := range cum {
		cum[i] /= sum
	}
	out := make([]int, k)
	for i := range out {
		u := g.Double()
		lo, hi := 0, len(cum)
		for lo < hi {
			mid := lo + (hi-lo)/2
			if float64(cum[mid]) < u {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		out[i] = min(lo, len(w)-1)
	}
	return out
}

// Normal fills dst as Tensor.normal_(mean, std) does in float32: the same words of the
// stream, values to about 1e-6 relative (torch's vectorised log, sin and cos round
// differently from one instruction set to the next).
func (g *Torch) Normal(dst []float32, mean, std float64) {
	if len(dst) < 16 {
		for i := range dst {
			dst[i] = float32(g.scalarNormal()*std + mean)
		}
		return
	}
	for i := range dst {
		dst[i] = g.Float32()
	}
	block := func(b []float32) { // Box-Muller on 8 pairs
		for j := range 8 {
			radius := math.Sqrt(-2 * math.Log(float64(1-b[j])))
			sin, cos := math.Sincos(2 * math.Pi * float64(b[j+8]))
			b[j] = float32(radius*cos*std + mean)
			b[j+8] = float32(radius*sin*std + mean)
		}
	}
	for i := 0; i+16 <= len(dst); i += 16 {
		block(dst[i : i+16])
	}
	if len(dst)%16 != 0 { // torch redraws the last 16 rather than mask
		tail := dst[len(dst)-16:]
		for i := range tail {
			tail[i] = g.Float32()
		}
		block(tail)
	}
}

func (g *Torch) scalarNormal() float64 {
	if g.hasCached {
		g.hasCached = false
		return g.cached
	}
	u1 := g.Double()
	u2 := g.Double()
	radius := math.Sqrt(-2 * math.Log1p(-u2))
	sin, cos := math.Sincos(2 * math.Pi * u1)
	g.cached, g.hasCached = radius*sin, true
	return radius * cos
}
