package columns

import (
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

const rowBlock = 32 // rows per task

func takeCPU(c *cpu.Device, x []float32, width, from int, out []float32, n, rows int) {
	c.Parallel((rows+rowBlock-1)/rowBlock, func(b int) {
		for t := b * rowBlock; t < min(rows, (b+1)*rowBlock); t++ {
			copy(out[t*n:(t+1)*n], x[t*width+from:])
		}
	})
}

func addCPU(c *cpu.Device, dout []float32, n int, dx []float32, width, from, rows int) {
	c.Parallel((rows+rowBlock-1)/rowBlock, func(b int) {
		for t := b * rowBlock; t < min(rows, (b+1)*rowBlock); t++ {
			row := dx[t*width+from:][:n]
			simd.Add(row, row, dout[t*n:(t+1)*n])
		}
	})
}
