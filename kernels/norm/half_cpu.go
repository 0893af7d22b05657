package norm

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/simd"
)

// widened is x in float32.
func widened(c *cpu.Device, x []driver.BF16) []float32 { return cast.Widened(c, x, nil) }

func forwardHalfCPU(c *cpu.Device, x []driver.BF16, r Residual, w []float32, eps float32, out []driver.BF16, rstd []float32, rows, d int) {
	wide := widened(c, x)
	if !r.Y.IsNil() {
		simd.Axpy(r.Scale, widened(c, r.Y.Host()), wide)
		cast.NarrowHost(wide, r.Sum.Host())
		cast.WidenHost(r.Sum.Host(), wide)
	}
	y := make([]float32, len(wide))
	forwardCPU(c, wide, w, eps, y, rstd, rows, d)
	cast.NarrowHost(y, out)
}

func backwardHalfCPU(c *cpu.Device, dy, x []driver.BF16, w, rstd driver.F32, add, dx []driver.BF16, dw driver.F32, rows, d int) {
	g, wide := widened(c, dy), widened(c, x)
	if !dw.IsNil() {
		backwardWeightCPU(c, g, wide, rstd.Host(), dw.Host(), rows, d)
	}
	backwardInputCPU(c, g, wide, w.Host(), rstd.Host(), g, rows, d)
	if add != nil {
		simd.Axpy(1, widened(c, add), g)
	}
	cast.NarrowHost(g, dx)
}
