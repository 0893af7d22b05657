package rope

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed rope.sm80.ptx.br
var sm80 string

var family = ptx.New("rope", sm80)

type parameters struct {
	x, pos, cosine, sine              uintptr
	heads, headDim, half, interleaved int32
	sign                              float32
}

var kernels = ptx.Declare[parameters](family, "rope_apply", "rope_apply_half")

func applyPTX(dev driver.Launcher, kernel string, x uintptr, pos []int32, a angles, table *Table, heads, headDim int, inverse bool) {
	q := ptx.On(dev)
	sign := float32(1)
	if inverse {
		sign = -1
	}
	grid := driver.Config{Grid: driver.Dim{X: len(pos)}, Block: driver.Dim{X: 32, Y: 8}}
	kernels.Launch(q, kernel, grid, &parameters{
		x: x, pos: ptx.Upload(q, pos), cosine: ptx.Constant(q, a.cos), sine: ptx.Constant(q, a.sin),
		heads: int32(heads), headDim: int32(headDim), half: int32(table.dim / 2), interleaved: ptx.Flag(table.Interleaved), sign: sign,
	})
}
