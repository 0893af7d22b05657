// Package columns splits a matrix by columns and assembles its gradient: for fused
// projections (qkv, gate and up).
//
// All tensors are float32 and row-major. Rows are independent.
package columns

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Take overwrites out [T, n] with columns [from, from+n) of x [T, width].
func Take(dev driver.Device, x driver.F32, width, from int, out driver.F32, n int) {
	rows := check(x, width, from, out, n)
	dispatch.Run(dev, "columns.Take", func(c *cpu.Device) {
		takeCPU(c, x.Host(), width, from, out.Host(), n, rows)
	}, func(c driver.Launcher) {
		launch(c, "columns_take", out, n, x, width, from, rows)
	})
}

// Add adds dout [T, n] to columns [from, from+n) of dx [T, width]: the gradient of Take.
func Add(dev driver.Device, dout driver.F32, n int, dx driver.F32, width, from int) {
	rows := check(dx, width, from, dout, n)
	dispatch.Run(dev, "columns.Add", func(c *cpu.Device) {
		addCPU(c, dout.Host(), n, dx.Host(), width, from, rows)
	}, func(c driver.Launcher) {
		launch(c, "columns_add", dout, n, dx, width, from, rows)
	})
}

// check returns T.
func check(wide driver.F32, width, from int, narrow driver.F32, n int) int {
	if n < 1 || from < 0 || from+n > width {
		panic("columns: the columns are not within the width")
	}
	rows := wide.Len() / width
	if wide.Len() != rows*width || narrow.Len() != rows*n {
		panic("columns: a tensor's length is not its shape's")
	}
	return rows
}
