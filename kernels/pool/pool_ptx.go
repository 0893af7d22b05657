package pool

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed pool.sm80.ptx
var sm80 string

var family = ptx.New("pool", sm80)

func launch(dev driver.Launcher, kernel string, x driver.F32, segments []int32, out driver.F32, d int) {
	q := ptx.On(dev)
	bounds := ptx.Upload(q, segments)
	q.Launch(family, kernel, ptx.Grid2(len(segments)-1, ptx.Blocks(d, 512), 128),
		q.Args().Addr(out.Addr()).Addr(x.Addr()).Addr(bounds).I32(int32(d)))
}
