package cast

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

const block = 1 << 14 // elements a task takes

func narrowCPU(c *cpu.Device, x []float32, y []driver.BF16) {
	n := len(x)
	c.Parallel((n+block-1)/block, func(b int) {
		lo, hi := b*block, min(n, (b+1)*block)
		NarrowHost(x[lo:hi], y[lo:hi])
	})
}

func widenCPU(c *cpu.Device, x []driver.BF16, y []float32) {
	n := len(x)
	c.Parallel((n+block-1)/block, func(b int) {
		lo, hi := b*block, min(n, (b+1)*block)
		WidenHost(x[lo:hi], y[lo:hi])
	})
}

func narrowRowsCPU(c *cpu.Device, alpha float32, rows, cols int, x []float32, y []driver.BF16, ld int) {
	c.Parallel(rows, func(i int) {
		row := y[i*ld : (i+1)*ld]
		for j, v := range x[i*cols : (i+1)*cols] {
			row[j] = narrow(alpha * v)
		}
		clear(row[cols:])
	})
}

// NarrowHost is Narrow on host memory, on the calling goroutine.
func NarrowHost(x []float32, y []driver.BF16) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] = narrow(v)
	}
}

func narrow(x float32) driver.BF16 {
	u := math.Float32bits(x)
	if u&^(1<<31) > 0x7f800000 {
		return 0x7fff
	}
	return driver.BF16((u + 0x7fff + u>>16&1) >> 16)
}

// WidenHost is Widen on host memory, on the calling goroutine.
func WidenHost(x []driver.BF16, y []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] = math.Float32frombits(uint32(v) << 16)
	}
}
