package rope

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed rope.sm80.ptx
var sm80 string

var family = ptx.New("rope", sm80)

func applyPTX(dev driver.Launcher, x driver.F32, pos []int32, a angles, table *Table, heads, headDim int, inverse bool) {
	q := ptx.On(dev)
	sign, interleaved := float32(1), int32(0)
	if inverse {
		sign = -1
	}
	if table.Interleaved {
		interleaved = 1
	}
	grid := driver.Config{Grid: driver.Dim{X: len(pos)}, Block: driver.Dim{X: 32, Y: 8}}
	q.Launch(family, "rope_apply", grid, q.Args().Addr(x.Addr()).
		Addr(ptx.Upload(q, pos)).Addr(ptx.Constant(q, a.cos)).Addr(ptx.Constant(q, a.sin)).
		I32(int32(heads)).I32(int32(headDim)).I32(int32(table.dim/2)).I32(interleaved).F32(sign))
}
