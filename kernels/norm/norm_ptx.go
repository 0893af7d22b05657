package norm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed norm.sm80.ptx
var sm80 string

var family = ptx.New("norm", sm80)

// As in norm.cu.
const (
	warpRow  = 1024 // d up to which a row belongs to a warp
	partRows = 32   // rows of a partial sum of dw
)

func rowKernel(stem string, rows, d int) (string, driver.Config) {
	if d <= warpRow {
		return stem + "_warp", ptx.Grid(ptx.Blocks(rows, 8), 256)
	}
	return stem + "_block", ptx.Grid(rows, 256)
}

func forwardPTX(dev driver.Launcher, x, w driver.F32, eps float32, y, rstd driver.F32, rows, d int) {
	q := ptx.On(dev)
	name, grid := rowKernel("norm_forward", rows, d)
	q.Launch(family, name, grid, q.Args().Addr(x.Addr()).Addr(w.Addr()).F32(eps).Addr(y.Addr()).Addr(rstd.Addr()).
		I32(int32(rows)).I32(int32(d)))
}

// backwardPTX leaves dw alone if it is nil. dw is first, as dx may take the place of dy.
func backwardPTX(dev driver.Launcher, dy, x, w, rstd, dx, dw driver.F32, rows, d int) {
	q := ptx.On(dev)
	if !dw.IsNil() && rows > 0 {
		parts, columns := ptx.Blocks(rows, partRows), ptx.Blocks(d, 128)
		partial := q.Scratch(0, 4*parts*d)
		q.Launch(family, "norm_weight_partial", ptx.Grid2(columns, parts, 128), q.Args().
			Addr(dy.Addr()).Addr(x.Addr()).Addr(rstd.Addr()).Addr(partial).I32(int32(rows)).I32(int32(d)))
		q.Launch(family, "norm_weight_sum", ptx.Grid(columns, 128), q.Args().
			Addr(partial).Addr(dw.Addr()).I32(int32(parts)).I32(int32(d)))
	}
	name, grid := rowKernel("norm_backward", rows, d)
	q.Launch(family, name, grid, q.Args().Addr(dy.Addr()).Addr(x.Addr()).Addr(w.Addr()).Addr(rstd.Addr()).Addr(dx.Addr()).
		I32(int32(rows)).I32(int32(d)))
}
