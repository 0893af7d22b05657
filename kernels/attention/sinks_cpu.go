package attention

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

// drainCPU gives every head's sink its share of each query's softmax: o *= σ(lse − sink),
// lse = ln(exp(lse) + exp(sink)).
func (p Params) drainCPU(c *cpu.Device, o, lse []float32, t int) {
	if p.Sinks.IsNil() {
		return
	}
	sinks, d := p.Sinks.Host(), p.valueDim()
	c.Parallel(p.Heads, func(h int) {
		for i := range t {
			l := &lse[h*t+i]
			away := float64(sinks[h]) - float64(*l)
			simd.Scale(float32(1/(1+math.Exp(away))), o[(i*p.Heads+h)*d:(i*p.Heads+h+1)*d])
			*l += float32(math.Max(away, 0) + math.Log1p(math.Exp(-math.Abs(away))))
		}
	})
}

// sinksCPU adds to the sinks' gradient: −Σ_i exp(sink − lse[i])·(do[i]·o[i]), segment after
// segment.
func (p Params) sinksCPU(c *cpu.Device, g gradients, d []float32, t int) {
	if p.Sinks.IsNil() || d == nil {
		return
	}
	sinks, width := p.Sinks.Host(), p.valueDim()
	c.Parallel(p.Heads, func(h int) {
		for s, from := range p.Segments[:len(p.Segments)-1] {
			var sum float64
			for i := int(from); i < int(p.Segments[s+1]); i++ {
				at := (i*p.Heads + h) * width
				share := math.Exp(float64(sinks[h]) - float64(g.lse[h*t+i]))
				sum -= share * float64(simd.Dot(g.do[at:at+width], g.o[at:at+width]))
			}
			d[h] += float32(sum)
		}
	})
}
