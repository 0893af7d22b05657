package gradproj

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

// stripe is how many columns of dA, or rows of dB, one task forms.
const stripe = 512

// accumulateCPU forms the pair's gradients [n][size], then projects them.
func (p *Projection) accumulateCPU(d *cpu.Device, f *Factors, adam *Adam, out []float32, normSq []float64) {
	n, size := f.Samples(), f.Size()
	p.work.grads = scratch.Sized(p.work.grads, n*size)
	g := gradients{data: p.work.grads, n: n, size: size, offset: f.Offset}
	p.form(d, f, adam, g, normSq)
	p.project(d, g, out)
}

// denseCPU transforms a copy of g, then projects it.
func (p *Projection) denseCPU(d *cpu.Device, block []float32, offset int, adam *Adam, out []float32, normSq *float64) {
	const chunk = 1 << 16
	p.work.grads = scratch.Sized(p.work.grads, len(block))
	g := gradients{data: p.work.grads, n: 1, size: len(block), offset: offset}
	parts := (g.size + chunk - 1) / chunk
	p.work.norms = scratch.Sized(p.work.norms, parts)
	t := p.transformer(adam)
	d.Parallel(parts, func(i int) {
		lo, hi := i*chunk, min((i+1)*chunk, g.size)
		copy(g.data[lo:hi], block[lo:hi])
		p.work.norms[i] = t.apply(g.data[lo:hi], lo)
	})
	for _, s := range p.work.norms[:parts] {
		*normSq += s
	}
	p.project(d, g, out)
}

// form computes γ of every sample, in stripes of dA and dB.
func (p *Projection) form(d *cpu.Device, f *Factors, adam *Adam, g gradients, normSq []float64) {
	x, u, dy, v := f.X.Host(), f.U.Host(), f.DY.Host(), f.V.Host()
	if p.opt.BF16 {
		x, u, dy, v = p.work.narrow(d, 0, x), p.work.narrow(d, 1, u), p.work.narrow(d, 2, dy), p.work.narrow(d, 3, v)
	}
	stripesA, stripesB := (f.In+stripe-1)/stripe, (f.Out+stripe-1)/stripe
	stripes := stripesA + stripesB
	p.work.norms = scratch.Sized(p.work.norms, g.n*stripes)
	norms := p.work.norms
	t := p.transformer(adam)
	d.Parallel(g.n*stripes, func(task int) {
		i, s := task/stripes, task%stripes
		lo, hi := int(f.Segments[i]), int(f.Segments[i+1])
		row := g.data[i*g.size : (i+1)*g.size]
		if s < stripesA {
			c, w := s*stripe, min(stripe, f.In-s*stripe)
			if hi == lo { // an empty segment has a zero gradient
				for r := range f.Rank {
					clear(row[r*f.In+c:][:w])
				}
			} else {
				gemm.Host(gemm.TN, 1, gemm.OnHost(v[lo*f.Rank:hi*f.Rank], hi-lo, f.Rank, f.Rank), gemm.OnHost(x[lo*f.In+c:hi*f.In], hi-lo, w, f.In), 0, gemm.OnHost(row[c:f.Rank*f.In], f.Rank, w, f.In))
			}
			norms[task] = 0
			for r := range f.Rank {
				norms[task] += t.apply(row[r*f.In+c:r*f.In+c+w], r*f.In+c)
			}
			return
		}
		s -= stripesA
		c, w := s*stripe, min(stripe, f.Out-s*stripe)
		at := f.Rank*f.In + c*f.Rank
		b := row[at : at+w*f.Rank]
		if hi == lo {
			clear(b)
		} else {
			gemm.Host(gemm.TN, f.Scale, gemm.OnHost(dy[lo*f.Out+c:hi*f.Out], hi-lo, w, f.Out), gemm.OnHost(u[lo*f.Rank:hi*f.Rank], hi-lo, f.Rank, f.Rank), 0, gemm.OnHost(b, w, f.Rank, f.Rank))
		}
		norms[task] = t.apply(b, at)
	})
	for i := range g.n {
		for _, s := range norms[i*stripes : (i+1)*stripes] {
			normSq[i] += s
		}
	}
}

// narrow returns x rounded to bf16, in buffer i.
func (w *workspace) narrow(d *cpu.Device, i int, x []float32) []float32 {
	const chunk = 1 << 16
	w.factors[i] = scratch.Sized(w.factors[i], len(x))
	y := w.factors[i]
	d.Parallel((len(x)+chunk-1)/chunk, func(c int) {
		lo, hi := c*chunk, min((c+1)*chunk, len(x))
		copy(y[lo:hi], x[lo:hi])
		roundBF16(y[lo:hi])
	})
	return y
}

// direction holds the numbers of the Adam direction of one element,
//
//	((g·grad1 + m·beta1)·unbias1) / (sqrt((v·beta2 + (g·g)·grad2)·unbias2 + epsInside) + eps)
//
// in the order in which asm/gradient.go and gradient.cuh (c[0] to c[7]) read them.
type direction struct {
	grad1, beta1     float32 // shares of the gradient and of the moment in the new first moment
	grad2, beta2     float32 // in the new second moment
	unbias1, unbias2 float32 // 1/(1 - beta^t), or 1
	epsInside, eps   float32 // under the root, and beside it
}

// transformer is what happens to a gradient before the product.
type transformer struct {
	c    *direction // nil: nothing
	m, v []float32
	half bool // round to float16
	bf16 bool // round to bf16
}

func (p *Projection) transformer(a *Adam) transformer {
	t := transformer{half: p.opt.Float16, bf16: p.opt.BF16}
	if a == nil {
		return t
	}
	c := direction{
		grad1: float32(1 - a.Beta1), beta1: float32(a.Beta1), grad2: float32(1 - a.Beta2), beta2: float32(a.Beta2),
		unbias1: 1, unbias2: 1, eps: float32(a.Eps),
	}
	if a.EpsInside {
		c.epsInside, c.eps = c.eps, 0
	}
	if s := float64(a.BiasCorrection); s > 0 {
		c.unbias1, c.unbias2 = float32(1/(1-math.Pow(a.Beta1, s))), float32(1/(1-math.Pow(a.Beta2, s)))
	}
	t.c, t.m, t.v = &c, a.M.Host(), a.V.Host()
	return t
}

// apply transforms g, which begins at index at of its block, in place and
// returns the sum of its squares.
func (t *transformer) apply(g []float32, at int) float64 {
	if t.c != nil {
		adamDirection(g, t.m[at:at+len(g)], t.v[at:at+len(g)], t.c)
	}
	if t.half {
		for i, x := range g {
			g[i] = roundFloat16(x)
		}
	}
	if t.bf16 {
		roundBF16(g)
	}
	return simd.SumSquares(g)
}

func adamGeneric(g, m, v []float32, c *direction) {
	m, v = m[:len(g)], v[:len(g)]
	for i, x := range g {
		num := float32((float32(x*c.grad1) + float32(m[i]*c.beta1)) * c.unbias1)
		den := float32((float32(v[i]*c.beta2)+float32(float32(x*x)*c.grad2))*c.unbias2) + c.epsInside
		g[i] = num / (float32(math.Sqrt(float64(den))) + c.eps)
	}
}

// roundFloat16 rounds to the nearest float16, ties to even, as a float32:
// beyond 65504 (from 65520 on) it is infinite, below 2^-24 it is 2^-24 or 0.
func roundFloat16(x float32) float32 {
	b := math.Float32bits(x)
	sign, a := b&0x80000000, b&0x7fffffff
	switch {
	case a >= 0x7f800000: // Inf and NaN stay
		return x
	case a >= 0x477ff000:
		return math.Float32frombits(sign | 0x7f800000)
	case a >= 0x38800000: // normal in float16: 13 bits go
		a = (a + 0xfff + a>>13&1) &^ 0x1fff
		return math.Float32frombits(sign | a)
	}
	// Adding 0.5 leaves multiples of 2^-24, rounded to even, in the low bits.
	r := math.Float32frombits(a) + 0.5 - 0.5
	return math.Float32frombits(sign | math.Float32bits(r))
}

// roundBF16 rounds to the nearest bf16, ties to even, as float32; what is beyond the
// largest becomes infinite, NaN stays.
func roundBF16(x []float32) {
	for i, v := range x {
		b := math.Float32bits(v)
		if b&0x7fffffff > 0x7f800000 {
			continue
		}
		x[i] = math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff)
	}
}
