package adamw

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
)

const block = 1 << 14 // elements per task

// factors are the scalars of a step as torch rounds them: struct factors of adamw.cu.
// asm/main.go reads the fields in this order too.
type factors struct {
	gradScale, decay, oneMinusBeta1, beta2, oneMinusBeta2, sqrtBC2, eps, minusStep float32
}

func newFactors(h Hyper) factors {
	bc1 := 1 - math.Pow(h.Beta1, float64(h.Step))
	bc2 := 1 - math.Pow(h.Beta2, float64(h.Step))
	return factors{
		gradScale: h.GradScale, decay: float32(1 - h.LR*h.WeightDecay),
		oneMinusBeta1: float32(1 - h.Beta1),
		beta2:         float32(h.Beta2), oneMinusBeta2: float32(1 - h.Beta2),
		sqrtBC2: float32(math.Sqrt(bc2)), eps: float32(h.Eps),
		minusStep: float32(-(h.LR / bc1)),
	}
}

// stepCPU updates the parameter, and rounds it to half unless half is nil.
func stepCPU(c *cpu.Device, p []float32, half []driver.BF16, g, m, v []float32, h Hyper) {
	f := newFactors(h)
	n := len(p)
	c.Parallel((n+block-1)/block, func(b int) {
		lo, hi := b*block, min(n, (b+1)*block)
		stepBlock(p[lo:hi], g[lo:hi], m[lo:hi], v[lo:hi], f)
		if half != nil {
			cast.NarrowHost(p[lo:hi], half[lo:hi])
		}
	})
}

// stepPlain is the reference for the vectorised loop, which has the same bits.
func stepPlain(p, g, m, v []float32, f factors) {
	g, m, v = g[:len(p)], m[:len(p)], v[:len(p)]
	for i := range p {
		gi := g[i] * f.gradScale
		// torch's lerp and addcmul round once after multiply and add; a float64
		// product of float32s is exact.
		mi := float32(float64(f.oneMinusBeta1)*float64(gi-m[i]) + float64(m[i]))
		vi := float32(float64(f.oneMinusBeta2*gi)*float64(gi) + float64(v[i]*f.beta2))
		m[i], v[i] = mi, vi
		denom := float32(math.Sqrt(float64(vi)))/f.sqrtBC2 + f.eps
		p[i] = p[i]*f.decay + f.minusStep*mi/denom
	}
}
