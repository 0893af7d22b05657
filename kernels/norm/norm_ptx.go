package norm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed norm.sm80.ptx.br
var sm80 string

var family = ptx.New("norm", sm80)

// As in norm.cu.
const (
	warpRow  = 1024 // d up to which a row belongs to a warp
	partRows = 32   // rows of a partial sum of dw
)

// Parameters of the kernels of norm.cu.
type (
	forwardParameters struct {
		x, w    uintptr
		eps     float32
		y, rstd uintptr
		rows, d int32
	}
	backwardParameters struct {
		dy, x, w, rstd, dx uintptr
		rows, d            int32
	}
	partialParameters struct {
		dy, x, rstd, partial uintptr
		rows, d              int32
	}
	sumParameters struct {
		partial, dw uintptr
		parts, d    int32
	}
)

var (
	forwards  = ptx.Declare[forwardParameters](family, "norm_forward_*")
	backwards = ptx.Declare[backwardParameters](family, "norm_backward_*")
	partials  = ptx.Declare[partialParameters](family, "norm_weight_partial")
	sums      = ptx.Declare[sumParameters](family, "norm_weight_sum")
)

// rowKernel chooses between a kernel whose rows belong to warps and one for blocks.
func rowKernel(warps, blocks string, rows, d int) (string, driver.Config) {
	if d <= warpRow {
		return warps, ptx.Grid(ptx.Blocks(rows, 8), 256)
	}
	return blocks, ptx.Grid(rows, 256)
}

func forwardPTX(dev driver.Launcher, x, w driver.F32, eps float32, y, rstd driver.F32, rows, d int) {
	name, grid := rowKernel("norm_forward_warp", "norm_forward_block", rows, d)
	forwards.Launch(ptx.On(dev), name, grid, &forwardParameters{
		x: x.Addr(), w: w.Addr(), eps: eps, y: y.Addr(), rstd: rstd.Addr(), rows: int32(rows), d: int32(d),
	})
}

// backwardPTX does not write dw if it is nil. dw is first, as dx may take the place of dy.
func backwardPTX(dev driver.Launcher, dy, x, w, rstd, dx, dw driver.F32, rows, d int) {
	q := ptx.On(dev)
	if !dw.IsNil() && rows > 0 {
		addPartials(q, dw, rows, d, func(partial uintptr, grid driver.Config) {
			partials.Launch(q, "norm_weight_partial", grid, &partialParameters{
				dy: dy.Addr(), x: x.Addr(), rstd: rstd.Addr(), partial: partial, rows: int32(rows), d: int32(d),
			})
		})
	}
	name, grid := rowKernel("norm_backward_warp", "norm_backward_block", rows, d)
	backwards.Launch(q, name, grid, &backwardParameters{
		dy: dy.Addr(), x: x.Addr(), w: w.Addr(), rstd: rstd.Addr(), dx: dx.Addr(), rows: int32(rows), d: int32(d),
	})
}

// addPartials adds to dw the sums over blocks of rows that launch computes.
func addPartials(q *ptx.Queue, dw driver.F32, rows, d int, launch func(partial uintptr, grid driver.Config)) {
	parts, columns := ptx.Blocks(rows, partRows), ptx.Blocks(d, 128)
	partial := q.Scratch(0, 4*parts*d)
	launch(partial, ptx.Grid2(columns, parts, 128))
	sums.Launch(q, "norm_weight_sum", ptx.Grid(columns, 128), &sumParameters{partial: partial, dw: dw.Addr(), parts: int32(parts), d: int32(d)})
}
