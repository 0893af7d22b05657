package norm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed half.sm80.ptx.br
var halfSM80 string

var familyHalf = ptx.New("norm, bf16", halfSM80)

// Parameters of the kernels of half.cu.
type (
	forwardHalfParameters struct {
		x, y      uintptr
		scale     float32
		sum, w    uintptr
		eps       float32
		out, rstd uintptr
		rows, d   int32
	}
	backwardHalfParameters struct {
		dy, x, w, rstd, add, dx uintptr
		rows, d                 int32
	}
)

var (
	forwardsHalf  = ptx.Declare[forwardHalfParameters](familyHalf, "norm_half_forward_*")
	backwardsHalf = ptx.Declare[backwardHalfParameters](familyHalf, "norm_half_backward_*")
	partialsHalf  = ptx.Declare[partialParameters](familyHalf, "norm_half_weight_partial")
)

func forwardHalfPTX(dev driver.Launcher, x bf16, r Residual, w driver.F32, eps float32, out bf16, rstd driver.F32, rows, d int) {
	name, grid := rowKernel("norm_half_forward_warp", "norm_half_forward_block", rows, d)
	forwardsHalf.Launch(ptx.On(dev), name, grid, &forwardHalfParameters{
		x: x.Addr(), y: r.Y.Addr(), scale: r.Scale, sum: r.Sum.Addr(), w: w.Addr(), eps: eps, out: out.Addr(), rstd: rstd.Addr(), rows: int32(rows), d: int32(d),
	})
}

// backwardHalfPTX leaves dw alone if it is nil. dw is first, as dx may take the place of dy.
func backwardHalfPTX(dev driver.Launcher, dy, x bf16, w, rstd driver.F32, add, dx bf16, dw driver.F32, rows, d int) {
	q := ptx.On(dev)
	if !dw.IsNil() && rows > 0 {
		addPartials(q, dw, rows, d, func(partial uintptr, grid driver.Config) {
			partialsHalf.Launch(q, "norm_half_weight_partial", grid, &partialParameters{
				dy: dy.Addr(), x: x.Addr(), rstd: rstd.Addr(), partial: partial, rows: int32(rows), d: int32(d),
			})
		})
	}
	name, grid := rowKernel("norm_half_backward_warp", "norm_half_backward_block", rows, d)
	backwardsHalf.Launch(q, name, grid, &backwardHalfParameters{
		dy: dy.Addr(), x: x.Addr(), w: w.Addr(), rstd: rstd.Addr(), add: add.Addr(), dx: dx.Addr(), rows: int32(rows), d: int32(d),
	})
}
