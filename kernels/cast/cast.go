// Package cast moves between float32 and bf16, the operands of tensor cores, and adds up
// values in bf16.
//
// Narrow rounds to nearest, ties to even, as the tensor cores' own conversion and
// torch do; values beyond bf16's range become infinite, NaN stays NaN (0x7fff, the
// one a GPU writes). Widen is exact. Vectors may begin anywhere; y is overwritten. Every
// element is independent: its bits are the same on every device and thread count.
//
// Source: Kalamkar et al. 2019, arXiv:1905.12322 (bfloat16).
package cast

import (
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/ptx"
	"dataflex.dev/dataflex/kernels/simd"
)

// Narrow is y = bf16(x).
func Narrow(dev driver.Device, x driver.F32, y driver.Slice[driver.BF16]) {
	if x.Len() != y.Len() {
		panic("cast: x and y differ in length")
	}
	dispatch.Run(dev, "cast.Narrow", func(c *cpu.Device) {
		narrowCPU(c, x.Host(), y.Host())
	}, func(c driver.Launcher) {
		castPTX(c, "cast_narrow", x.Addr(), y.Addr(), x.Len())
	})
}

// NarrowRows is y = bf16(alpha·x) for x [rows, cols] and y [rows, ld], ld >= cols: rows
// that begin where a product expects them. The columns of y beyond cols become 0.
func NarrowRows(dev driver.Device, alpha float32, rows, cols int, x driver.F32, y driver.Slice[driver.BF16], ld int) {
	if ld < cols || x.Len() != rows*cols || y.Len() != rows*ld {
		panic("cast: x is not [rows, cols] or y not [rows, ld], ld >= cols")
	}
	dispatch.Run(dev, "cast.NarrowRows", func(c *cpu.Device) {
		narrowRowsCPU(c, alpha, rows, cols, x.Host(), y.Host(), ld)
	}, func(c driver.Launcher) {
		narrowRowsPTX(c, alpha, rows, cols, x.Addr(), y.Addr(), ld)
	})
}

// Matrix is X [Rows, Cols], and Y [Rows, Ld] for it in bf16, Ld >= Cols a multiple of 8.
type Matrix struct {
	X              driver.F32
	Rows, Cols, Ld int
	Y              driver.Slice[driver.BF16]
}

// NarrowList is NarrowRows, without a factor, of many matrices in few launches.
func NarrowList(dev driver.Device, list []Matrix) {
	for _, m := range list {
		if m.Ld < m.Cols || m.Ld%8 != 0 || m.X.Len() != m.Rows*m.Cols || m.Y.Len() != m.Rows*m.Ld {
			panic("cast: X is not [Rows, Cols] or Y not [Rows, Ld], Ld >= Cols a multiple of 8")
		}
	}
	dispatch.Run(dev, "cast.NarrowList", func(c *cpu.Device) {
		c.Parallel(len(list), func(i int) {
			m := list[i]
			narrowRowsCPU(c, 1, m.Rows, m.Cols, m.X.Host(), m.Y.Host(), m.Ld)
		})
	}, func(c driver.Launcher) {
		for part := range slices.Chunk(list, listMost) {
			narrowListPTX(c, part)
		}
	})
}

// Widen is y = float32(x).
func Widen(dev driver.Device, x driver.Slice[driver.BF16], y driver.F32) {
	if x.Len() != y.Len() {
		panic("cast: x and y differ in length")
	}
	dispatch.Run(dev, "cast.Widen", func(c *cpu.Device) {
		widenCPU(c, x.Host(), y.Host())
	}, func(c driver.Launcher) {
		castPTX(c, "cast_widen", x.Addr(), y.Addr(), x.Len())
	})
}

// Sum is out = bf16(x + scale·y); out may be x or y.
func Sum(dev driver.Device, x, y driver.Slice[driver.BF16], scale float32, out driver.Slice[driver.BF16]) {
	if x.Len() != y.Len() || out.Len() != x.Len() {
		panic("cast: x, y and out differ in length")
	}
	dispatch.Run(dev, "cast.Sum", func(c *cpu.Device) {
		wide := Widened(c, x.Host(), nil)
		simd.Axpy(scale, Widened(c, y.Host(), nil), wide)
		narrowCPU(c, wide, out.Host())
	}, func(c driver.Launcher) {
		sums.Launch(ptx.On(c), "cast_sum", ptx.Grid(ptx.Blocks(x.Len(), 2048), 256), &sumParameters{x.Addr(), y.Addr(), out.Addr(), uint64(x.Len()), scale})
	})
}
