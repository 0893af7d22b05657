package embed

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/simd"
)

const (
	rowBlock = 32  // rows per forward task
	colBlock = 128 // columns per backward task: whole cache lines
)

func forwardCPU(c *cpu.Device, table []float32, ids []int32, out []float32, d int) {
	c.Parallel((len(ids)+rowBlock-1)/rowBlock, func(b int) {
		for t := b * rowBlock; t < min(len(ids), (b+1)*rowBlock); t++ {
			id := int(ids[t])
			copy(out[t*d:(t+1)*d], table[id*d:(id+1)*d])
		}
	})
}

func forwardBF16CPU(c *cpu.Device, table []driver.BF16, ids []int32, out []float32, d int) {
	c.Parallel((len(ids)+rowBlock-1)/rowBlock, func(b int) {
		for t := b * rowBlock; t < min(len(ids), (b+1)*rowBlock); t++ {
			id := int(ids[t])
			cast.WidenHost(table[id*d:(id+1)*d], out[t*d:(t+1)*d])
		}
	})
}

// backwardCPU splits columns among the threads: equal ids are then handled by one thread,
// which adds them in the order of the tokens.
func backwardCPU(c *cpu.Device, dout []float32, ids []int32, dtable []float32, d int) {
	c.Parallel((d+colBlock-1)/colBlock, func(b int) {
		lo, hi := b*colBlock, min(d, (b+1)*colBlock)
		for t, id := range ids {
			row, g := dtable[int(id)*d+lo:int(id)*d+hi], dout[t*d+lo:t*d+hi]
			simd.Add(row, row, g)
		}
	})
}
