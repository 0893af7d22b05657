package cast

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed cast.sm80.ptx.br
var sm80 string

var family = ptx.New("cast", sm80)

const listMost = 96 // matrices of a launch, as in cast.cu

// Parameters of the kernels of cast.cu.
type (
	listParameters struct {
		items [listMost]struct {
			x, y                    uintptr
			rows, cols, ld, padding int32
		}
	}
	castParameters struct {
		x, y uintptr
		n    uint64
	}
	narrowRowsParameters struct {
		x, y           uintptr
		rows, cols, ld int32
		alpha          float32
	}
	sumParameters struct {
		x, y, out uintptr
		n         uint64
		scale     float32
	}
)

var (
	casts      = ptx.Declare[castParameters](family, "cast_narrow", "cast_widen")
	narrowRows = ptx.Declare[narrowRowsParameters](family, "cast_narrow_rows")
	lists      = ptx.Declare[ptx.One[listParameters]](family, "cast_narrow_list")
	sums       = ptx.Declare[sumParameters](family, "cast_sum")
)

func castPTX(dev driver.Launcher, kernel string, x, y uintptr, n int) {
	casts.Launch(ptx.On(dev), kernel, ptx.Grid(ptx.Blocks(n, 2048), 256), &castParameters{x, y, uint64(n)})
}

func narrowRowsPTX(dev driver.Launcher, alpha float32, rows, cols int, x, y uintptr, ld int) {
	groups := rows * ptx.Blocks(ld, 4)
	narrowRows.Launch(ptx.On(dev), "cast_narrow_rows", ptx.Grid(ptx.Blocks(groups, 256), 256), &narrowRowsParameters{
		x: x, y: y, rows: int32(rows), cols: int32(cols), ld: int32(ld), alpha: alpha,
	})
}

// narrowListPTX has a row of blocks for each matrix, as many as the largest takes.
func narrowListPTX(dev driver.Launcher, list []Matrix) {
	var p ptx.One[listParameters]
	blocks := 0
	for i, m := range list {
		at := &p.P.items[i]
		at.x, at.y, at.rows, at.cols, at.ld = m.X.Addr(), m.Y.Addr(), int32(m.Rows), int32(m.Cols), int32(m.Ld)
		blocks = max(blocks, ptx.Blocks(m.Rows*m.Ld, 2048))
	}
	lists.Launch(ptx.On(dev), "cast_narrow_list", ptx.Grid2(blocks, len(list), 256), &p)
}
