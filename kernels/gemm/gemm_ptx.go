package gemm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed gemm.sm80.ptx.br
var sm80 string

var family = ptx.New("gemm", sm80)

const (
	chunkTN    = 512      // steps of k that TN sums before it adds to C; as the order of the sum, it depends on nothing
	enough     = 264      // blocks that fill a large device
	maxPartial = 64 << 20 // bytes of chunks held at once
)

// deviceTile is one size of tile and its kernels.
type deviceTile struct {
	rows, columns int
	kernels       [3]string
}

var (
	tallTile  = deviceTile{128, 32, [...]string{NN: "gemm_nn_128x32", NT: "gemm_nt_128x32", TN: "gemm_tn_128x32"}}
	flatTile  = deviceTile{32, 128, [...]string{NN: "gemm_nn_32x128", NT: "gemm_nt_32x128", TN: "gemm_tn_32x128"}}
	largeTile = deviceTile{128, 128, [...]string{NN: "gemm_nn_128x128", NT: "gemm_nt_128x128", TN: "gemm_tn_128x128"}}
	smallTile = deviceTile{64, 64, [...]string{NN: "gemm_nn_64x64", NT: "gemm_nt_64x64", TN: "gemm_tn_64x64"}}
)

// tileOf is the tile for C's shape.
func tileOf(m, n int) *deviceTile {
	switch {
	case n <= 32 && m > 32:
		return &tallTile
	case m <= 32:
		return &flatTile
	case ptx.Blocks(m, 128)*ptx.Blocks(n, 128) >= enough/2:
		return &largeTile
	}
	return &smallTile
}

func runPTX(dev driver.Launcher, tr Transpose, k int, alpha float32, a, b F32, beta float32, c F32) {
	m, n := c.Rows, c.Cols
	if m == 0 || n == 0 {
		return
	}
	q := ptx.On(dev)
	p := newProduct(k, alpha, a, beta, c)
	p.b, p.ldb = b.Data.Addr(), int32(b.Ld)
	if k == 0 {
		if beta == 0 {
			p.chunk = 1
			kernels.Launch(q, "gemm_clear", ptx.Grid(ptx.Blocks(m*n, 256), 256), &ptx.One[Product]{P: p})
		}
		return
	}
	tile := tileOf(m, n)
	chunk := k
	if tr == TN {
		chunk = chunkTN
	}
	p.chunk = int32(chunk)
	grid := driver.Dim{X: ptx.Blocks(n, tile.columns), Y: ptx.Blocks(m, tile.rows), Z: ptx.Blocks(k, chunk)}
	if grid.Z == 1 || grid.X*grid.Y < enough && 4*grid.Z*m*n <= maxPartial {
		p.launch(q, tile.kernels[tr], grid)
		return
	}
	for k > 0 {
		steps := min(k, chunk)
		p.k, grid.Z = int32(steps), 1
		p.launch(q, tile.kernels[tr], grid)
		p.a, p.b = p.a+uintptr(4*chunk*a.Ld), p.b+uintptr(4*chunk*b.Ld)
		p.add, k = 1, k-steps
	}
}

// launch runs the tiles of a grid, and adds up the chunks if it has several.
func (p *Product) launch(q *ptx.Queue, kernel string, grid driver.Dim) {
	entries := int(p.m) * int(p.n)
	if grid.Z > 1 {
		p.partial = q.Scratch(partialSlot, 4*grid.Z*entries)
	}
	kernels.Launch(q, kernel, driver.Config{Grid: grid, Block: driver.Dim{X: 256}}, &ptx.One[Product]{P: *p})
	if grid.Z > 1 {
		kernels.Launch(q, "gemm_add_chunks", ptx.Grid(ptx.Blocks(entries, 256), 256), &ptx.One[Product]{P: *p})
	}
}

// partialSlot is the scratch buffer gemm takes: callers that hold scratch memory over
// a product use others.
const partialSlot = 7

// Product is struct problem of tile.cuh. Kernels of other packages that decode B themselves
// take it, too.
type Product struct {
	a, b, c, partial              uintptr
	m, n, k, lda, ldb, ldc, chunk int32
	alpha                         float32
	add                           int32
}

func newProduct(k int, alpha float32, a F32, beta float32, c F32) Product {
	return Product{
		a: a.Data.Addr(), c: c.Data.Addr(), m: int32(c.Rows), n: int32(c.Cols), k: int32(k),
		lda: int32(a.Ld), ldc: int32(c.Ld), alpha: alpha, add: ptx.Flag(beta == 1),
	}
}

// ProductWithoutB is the product of A and a B [rows, cols] that is not in memory: it checks the
// shapes as Run does.
func ProductWithoutB(tr Transpose, alpha float32, a F32, rows, cols int, beta float32, c F32) Product {
	k := checkShapes(tr, a, Matrix[float32]{Rows: rows, Cols: cols, Ld: cols}, beta, c)
	return newProduct(k, alpha, a, beta, c)
}

// TileSize is the size of the tile with which a device computes an m by n product.
func TileSize(m, n int) (rows, columns int) {
	t := tileOf(m, n)
	return t.rows, t.columns
}

var kernels = ptx.Declare[ptx.One[Product]](family, "gemm_*")
