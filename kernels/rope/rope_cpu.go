package rope

import "dataflex/driver/cpu"

const rowBlock = 16 // tokens a task turns

func applyCPU(c *cpu.Device, x []float32, pos []int32, a angles, dim, heads, headDim int, inverse bool) {
	half := dim / 2
	width := heads * headDim
	c.Parallel((len(pos)+rowBlock-1)/rowBlock, func(b int) {
		for t := b * rowBlock; t < min(len(pos), (b+1)*rowBlock); t++ {
			p := int(pos[t])
			cos, sin := a.cos[p*half:(p+1)*half], a.sin[p*half:(p+1)*half]
			for h := range heads {
				head := x[t*width+h*headDim:][:dim]
				if inverse {
					turnBack(head[:half], head[half:], cos, sin)
				} else {
					turn(head[:half], head[half:], cos, sin)
				}
			}
		}
	})
}

func turn(x1, x2, cos, sin []float32) {
	x2, cos, sin = x2[:len(x1)], cos[:len(x1)], sin[:len(x1)]
	for i, u := range x1 {
		v := x2[i]
		x1[i] = u*cos[i] - v*sin[i]
		x2[i] = v*cos[i] + u*sin[i]
	}
}

func turnBack(x1, x2, cos, sin []float32) {
	x2, cos, sin = x2[:len(x1)], cos[:len(x1)], sin[:len(x1)]
	for i, u := range x1 {
		v := x2[i]
		x1[i] = u*cos[i] + v*sin[i]
		x2[i] = v*cos[i] - u*sin[i]
	}
}
