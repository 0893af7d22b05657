package pool

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed pool.sm80.ptx.br
var sm80 string

var family = ptx.New("pool", sm80)

// parameters are those of the kernels of pool.cu.
type parameters struct {
	out, x, segments uintptr
	d                int32
}

var kernels = ptx.Declare[parameters](family, "pool_*")

func launch(dev driver.Launcher, kernel string, x driver.F32, segments []int32, out driver.F32, d int) {
	q := ptx.On(dev)
	kernels.Launch(q, kernel, ptx.Grid2(len(segments)-1, ptx.Blocks(d, 512), 128), &parameters{
		out: out.Addr(), x: x.Addr(), segments: ptx.Upload(q, segments), d: int32(d),
	})
}
