package columns

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed columns.sm80.ptx.br
var sm80 string

var family = ptx.New("columns", sm80)

// arguments are struct columns of columns.cu.
type arguments struct {
	narrow, wide   uintptr // wide: address of the first of the columns
	rows, n, width int32
}

var kernels = ptx.Declare[ptx.One[arguments]](family, "columns_*")

// launch runs a kernel of columns.cu on columns [from, from+n) of wide [rows, width].
func launch(dev driver.Launcher, kernel string, narrow driver.F32, n int, wide driver.F32, width, from, rows int) {
	kernels.Launch(ptx.On(dev), kernel, ptx.Grid(ptx.Blocks(rows*ptx.Blocks(n, 4), 256), 256), &ptx.One[arguments]{P: arguments{
		narrow: narrow.Addr(), wide: wide.Addr() + uintptr(4*from), rows: int32(rows), n: int32(n), width: int32(width),
	}})
}
