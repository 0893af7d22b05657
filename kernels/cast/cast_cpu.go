package cast

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

const (
	block = 1 << 14 // elements a task takes
	piece = 1 << 10 // and scales at once
)

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
	if cols == 0 {
		clear(y)
		return
	}
	if ld == cols { // one long row, in pieces
		rows, cols, ld = (len(x)+piece-1)/piece, piece, piece
	}
	each := max(1, block/cols) // rows a task takes
	c.Parallel((rows+each-1)/each, func(b int) {
		s := scaledRows.Take()
		s.x = scratch.Sized(s.x, cols)
		for i := b * each; i < min(rows, (b+1)*each); i++ {
			row := x[i*cols : min((i+1)*cols, len(x))]
			n := len(row)
			if alpha != 1 {
				copy(s.x, row)
				row = s.x[:n]
				simd.Scale(alpha, row)
			}
			simd.Narrow(y[i*ld:i*ld+n], row)
			clear(y[i*ld+n : min((i+1)*ld, len(y))])
		}
		scaledRows.Give(s)
	})
}

// scaledRow is a row times alpha.
type scaledRow struct{ x []float32 }

var scaledRows = scratch.NewPool[scaledRow](64)

// NarrowHost is Narrow on host memory, on the calling goroutine.
func NarrowHost(x []float32, y []driver.BF16) { simd.Narrow(y[:len(x)], x) }

// WidenHost is Widen on host memory, on the calling goroutine.
func WidenHost(x []driver.BF16, y []float32) { simd.Widen(y[:len(x)], x) }

// Widened is x in float32, in the memory of to where that has room.
func Widened(c *cpu.Device, x []driver.BF16, to []float32) []float32 {
	to = scratch.Sized(to, len(x))
	widenCPU(c, x, to)
	return to
}
