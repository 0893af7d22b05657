package norm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed layer.sm80.ptx.br
var layerSM80 string

var layerFamily = ptx.New("layer norm", layerSM80)

// Parameters of the kernels of layer.cu.
type (
	layerForwardParameters struct {
		x, w, b         uintptr
		eps             float32
		y, moments      uintptr
		rows, groups, d int32
	}
	layerBackwardParameters struct {
		dy, x, w, moments, dx uintptr
		rows, groups, d       int32
	}
	layerPartialParameters struct {
		dy, x, moments, partial uintptr
		rows, groups, d         int32
	}
)

var (
	layerForwards  = ptx.Declare[layerForwardParameters](layerFamily, "norm_layer_forward_*")
	layerBackwards = ptx.Declare[layerBackwardParameters](layerFamily, "norm_layer_backward_*")
	layerPartials  = ptx.Declare[layerPartialParameters](layerFamily, "norm_layer_partial")
)

func (l Layer) forwardPTX(dev driver.Launcher, x, y, moments driver.F32, rows, d int) {
	name, grid := rowKernel("norm_layer_forward_warp", "norm_layer_forward_block", rows, d)
	layerForwards.Launch(ptx.On(dev), name, grid, &layerForwardParameters{
		x: x.Addr(), w: l.W.Addr(), b: l.B.Addr(), eps: l.Eps, y: y.Addr(), moments: moments.Addr(),
		rows: int32(rows), groups: int32(l.groups()), d: int32(d),
	})
}

// backwardPTX does not write dw and db if they are nil. They are first, as dx may take
// the place of dy.
func (l Layer) backwardPTX(dev driver.Launcher, dy, x, moments, dx, dw, db driver.F32, rows, d int) {
	q, groups := ptx.On(dev), l.groups()
	if (!dw.IsNil() || !db.IsNil()) && rows > 0 {
		columns := groups * d
		parts, blocks := ptx.Blocks(rows/groups, partRows), ptx.Blocks(columns, 128)
		partial := q.Scratch(0, 2*4*parts*columns)
		layerPartials.Launch(q, "norm_layer_partial", ptx.Grid2(blocks, parts, 128), &layerPartialParameters{
			dy: dy.Addr(), x: x.Addr(), moments: moments.Addr(), partial: partial,
			rows: int32(rows / groups), groups: int32(groups), d: int32(d),
		})
		for i, sum := range []driver.F32{dw, db} {
			if !sum.IsNil() {
				sums.Launch(q, "norm_weight_sum", ptx.Grid(blocks, 128), &sumParameters{
					partial: partial + uintptr(i*4*parts*columns), dw: sum.Addr(), parts: int32(parts), d: int32(columns),
				})
			}
		}
	}
	name, grid := rowKernel("norm_layer_backward_warp", "norm_layer_backward_block", rows, d)
	layerBackwards.Launch(q, name, grid, &layerBackwardParameters{
		dy: dy.Addr(), x: x.Addr(), w: l.W.Addr(), moments: moments.Addr(), dx: dx.Addr(),
		rows: int32(rows), groups: int32(groups), d: int32(d),
	})
}
