package rope

import (
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

const rowBlock = 16 // tokens a task turns

func applyCPU(c *cpu.Device, x []float32, pos []int32, a angles, table *Table, heads, headDim int, inverse bool) {
	half := table.dim / 2
	width := heads * headDim
	sign := float32(1)
	if inverse {
		sign = -1
	}
	c.Parallel((len(pos)+rowBlock-1)/rowBlock, func(b int) {
		for t := b * rowBlock; t < min(len(pos), (b+1)*rowBlock); t++ {
			p := int(pos[t])
			cos, sin := a.cos[p*half:(p+1)*half], a.sin[p*half:(p+1)*half]
			for h := range heads {
				head := x[t*width+h*headDim:][:table.dim]
				switch {
				case table.Interleaved:
					turnNeighbours(head, cos, sin, sign)
				default:
					simd.Rotate(sign, head[:half], head[half:], cos, sin)
				}
			}
		}
	})
}

func turnNeighbours(head, cos, sin []float32, sign float32) {
	sin = sin[:len(cos)]
	for i, c := range cos {
		s, u, v := sign*sin[i], head[2*i], head[2*i+1]
		head[2*i], head[2*i+1] = u*c-v*s, v*c+u*s
	}
}
