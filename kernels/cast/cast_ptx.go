package cast

import (
	_ "embed"

	"dataflex/driver"
	"dataflex/kernels/ptx"
)

//go:embed cast.sm80.ptx
var sm80 string

var family = ptx.New("cast", sm80)

func castPTX(dev driver.Launcher, kernel string, x, y uintptr, n int) {
	q := ptx.On(dev)
	q.Launch(family, kernel, ptx.Grid(ptx.Blocks(n, 2048), 256), q.Args().Addr(x).Addr(y).U64(uint64(n)))
}
