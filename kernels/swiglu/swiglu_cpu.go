package swiglu

import (
	"math"

	"dataflex/driver/cpu"
)

const block = 4096 // elements a task takes

func forwardCPU(c *cpu.Device, gate, up, out []float32) {
	n := len(gate)
	c.Parallel((n+block-1)/block, func(b int) {
		for i := b * block; i < min(n, (b+1)*block); i++ {
			g := gate[i]
			out[i] = g / (1 + float32(math.Exp(float64(-g)))) * up[i]
		}
	})
}

func backwardCPU(c *cpu.Device, dout, gate, up, dgate, dup []float32) {
	n := len(gate)
	c.Parallel((n+block-1)/block, func(b int) {
		for i := b * block; i < min(n, (b+1)*block); i++ {
			g, u, d := gate[i], up[i], dout[i]
			s := 1 / (1 + float32(math.Exp(float64(-g))))
			dgate[i] = d * u * s * (1 + g*(1-s))
			dup[i] = d * (g * s)
		}
	})
}
