package norm

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

type bf16 = driver.Slice[driver.BF16]

// Residual is an addition in front of a norm: Sum = bf16(x + Scale·Y), which may be in the
// memory of x or Y. The zero value is none.
type Residual struct {
	Y     bf16
	Scale float32
	Sum   bf16
}

// ForwardBF16 is Forward of values in bf16, of x or of r's sum: they are widened, and the
// norm, computed in float32, is rounded to nearest even. It overwrites r.Sum, out, which may
// be x, and rstd.
func ForwardBF16(dev driver.Device, x bf16, r Residual, w driver.F32, eps float32, out bf16, rstd driver.F32, d int) {
	rows := checkRows(x.Len(), w, rstd, d)
	if out.Len() != x.Len() || !r.Y.IsNil() && (r.Y.Len() != x.Len() || r.Sum.Len() != x.Len()) {
		panic("norm: out, or a residual, is not shaped like x")
	}
	dispatch.Run(dev, "norm.ForwardBF16", func(c *cpu.Device) {
		forwardHalfCPU(c, x.Host(), r, w.Host(), eps, out.Host(), rstd.Host(), rows, d)
	}, func(c driver.Launcher) {
		forwardHalfPTX(c, x, r, w, eps, out, rstd, rows, d)
	})
}

// BackwardBF16 is Backward of values and gradients in bf16, with another gradient of x, add,
// in the sum before it is rounded: nil = none. It overwrites dx, which may be dy or add, and
// adds to dw unless it is nil.
func BackwardBF16(dev driver.Device, dy, x bf16, w, rstd driver.F32, add, dx bf16, dw driver.F32, d int) {
	rows := checkRows(x.Len(), w, rstd, d)
	if dy.Len() != x.Len() || dx.Len() != x.Len() || !add.IsNil() && add.Len() != x.Len() {
		panic("norm: dy, dx or add is not shaped like x")
	}
	if !dw.IsNil() && dw.Len() != d {
		panic("norm: dw is not [d]")
	}
	dispatch.Run(dev, "norm.BackwardBF16", func(c *cpu.Device) {
		backwardHalfCPU(c, dy.Host(), x.Host(), w, rstd, add.Host(), dx.Host(), dw, rows, d)
	}, func(c driver.Launcher) {
		backwardHalfPTX(c, dy, x, w, rstd, add, dx, dw, rows, d)
	})
}
