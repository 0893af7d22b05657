package cast

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed cast.sm80.ptx
var sm80 string

var family = ptx.New("cast", sm80)

func castPTX(dev driver.Launcher, kernel string, x, y uintptr, n int) {
	q := ptx.On(dev)
	q.Launch(family, kernel, ptx.Grid(ptx.Blocks(n, 2048), 256), q.Args().Addr(x).Addr(y).U64(uint64(n)))
}

func narrowRowsPTX(dev driver.Launcher, alpha float32, rows, cols int, x, y uintptr, ld int) {
	q := ptx.On(dev)
	groups := rows * ptx.Blocks(ld, 4)
	q.Launch(family, "cast_narrow_rows", ptx.Grid(ptx.Blocks(groups, 256), 256),
		q.Args().Addr(x).Addr(y).I32(int32(rows)).I32(int32(cols)).I32(int32(ld)).F32(alpha))
}
