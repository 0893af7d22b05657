package lion

import "dataflex.dev/dataflex/driver/cpu"

const block = 1 << 14 // elements per task

func stepCPU(c *cpu.Device, p, g, m []float32, f factors) {
	n := len(p)
	c.Parallel((n+block-1)/block, func(b int) {
		lo, hi := b*block, min(n, (b+1)*block)
		stepBlock(p[lo:hi], g[lo:hi], m[lo:hi], f)
	})
}

func stepBlock(p, g, m []float32, f factors) {
	g, m = g[:len(p)], m[:len(p)]
	for i := range p {
		x := g[i] * f.gradScale
		// A float64 product of float32s is exact: one rounding.
		u := float32(float64(f.oneMinusBeta1)*float64(x) + float64(m[i]*f.beta1))
		q := p[i] * f.decay
		switch {
		case u > 0:
			q -= f.lr
		case u < 0:
			q += f.lr
		}
		p[i] = q
		m[i] = float32(float64(f.oneMinusBeta2)*float64(x) + float64(m[i]*f.beta2))
	}
}
