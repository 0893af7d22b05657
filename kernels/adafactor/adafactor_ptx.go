package adafactor

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed adafactor.sm80.ptx.br
var sm80 string

var family = ptx.New("adafactor", sm80)

// Parameters of the kernels of adafactor.cu.
type (
	meanParameters struct { // adafactor_rows, adafactor_columns
		g, mean    uintptr
		rows, cols int32
		f          factors
	}
	sumParameters struct { // adafactor_sum_floats, adafactor_sum_doubles
		x   uintptr
		n   int32
		sum uintptr
	}
	matrixParameters struct { // adafactor_squares, adafactor_apply
		p, g, r, c, sumOfR, squares uintptr
		rows, cols                  int32
		f                           factors
	}
	vectorParameters struct {
		p, g, v uintptr
		n       int32
		f       factors
	}
)

var (
	means    = ptx.Declare[meanParameters](family, "adafactor_rows", "adafactor_columns")
	sums     = ptx.Declare[sumParameters](family, "adafactor_sum_*")
	matrices = ptx.Declare[matrixParameters](family, "adafactor_squares", "adafactor_apply")
	vectors  = ptx.Declare[vectorParameters](family, "adafactor_vector")
)

const threads = 256

func matrixPTX(dev driver.Launcher, p, g, r, c driver.F32, f factors) {
	rows, cols := r.Len(), c.Len()
	q := ptx.On(dev)
	// The sum of r, the sum of u² and its parts by rows, all in float64.
	sumOfR := q.Scratch(0, 8*(2+rows))
	squares, partial := sumOfR+8, sumOfR+16
	mean := meanParameters{g: g.Addr(), mean: r.Addr(), rows: int32(rows), cols: int32(cols), f: f}
	means.Launch(q, "adafactor_rows", ptx.Grid(rows, threads), &mean)
	mean.mean = c.Addr()
	means.Launch(q, "adafactor_columns", ptx.Grid(ptx.Blocks(cols, 32), threads), &mean)
	sums.Launch(q, "adafactor_sum_floats", ptx.Grid(1, threads), &sumParameters{r.Addr(), int32(rows), sumOfR})
	m := matrixParameters{p.Addr(), g.Addr(), r.Addr(), c.Addr(), sumOfR, partial, int32(rows), int32(cols), f}
	matrices.Launch(q, "adafactor_squares", ptx.Grid(rows, threads), &m)
	sums.Launch(q, "adafactor_sum_doubles", ptx.Grid(1, threads), &sumParameters{partial, int32(rows), squares})
	m.squares = squares
	matrices.Launch(q, "adafactor_apply", ptx.Grid(rows, threads), &m)
}

func vectorPTX(dev driver.Launcher, p, g, v driver.F32, f factors) {
	vectors.Launch(ptx.On(dev), "adafactor_vector", ptx.Grid(1, threads), &vectorParameters{p.Addr(), g.Addr(), v.Addr(), int32(p.Len()), f})
}
