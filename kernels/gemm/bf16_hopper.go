package gemm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed bf16.sm90a.ptx.br
var bf16SM90a string

var hopperFamily = ptx.New("gemm, bf16 for Hopper", bf16SM90a)

// ProductHopper is struct problem of product_hopper.cuh. Kernels of other packages that decode B
// themselves take it, too.
type ProductHopper struct {
	c               uintptr
	m, n, k, r, ldc int32
	alpha           float32
	add             int32
}

// hopperParameters are those of the kernels of bf16.sm90a.cu: the factors and those of the
// branch.
type hopperParameters struct {
	a, b, u, l driver.EncodedTensorMap
	p          ProductHopper
}

var hopperTiles = ptx.Declare[hopperParameters](hopperFamily, "gemm_bf16_*")

// hopperTile is one size of tile and its kernels.
type hopperTile struct {
	columns, shared int
	kernels         [3]string
}

// Shared memory: the ring of bf16.sm90a.cu, with two barriers a stage.
var (
	wideTile = hopperTile{256, 4*(16<<10+32<<10) + 4*16, [...]string{NN: "gemm_bf16_nn_256", NT: "gemm_bf16_nt_256", TN: "gemm_bf16_tn_256"}}
	slimTile = hopperTile{128, 6*(16<<10+16<<10) + 6*16, [...]string{NN: "gemm_bf16_nn_128", NT: "gemm_bf16_nt_128", TN: "gemm_bf16_tn_128"}}
)

func (h *hopperTile) count(m, n int) int { return ptx.Blocks(m, 128) * ptx.Blocks(n, h.columns) }

// tileFor is the size with which the multiprocessor that has most to do has least. A wide
// tile is two slim ones, and wins where that is the same: it reads less shared memory and
// less of A.
func tileFor(m, n, units int) *hopperTile {
	if n > slimTile.columns && 2*ptx.Blocks(wideTile.count(m, n), units) <= ptx.Blocks(slimTile.count(m, n), units) {
		return &wideTile
	}
	return &slimTile
}

// runHopper launches one block a multiprocessor, which takes tile after tile.
func (p *bf16Problem) runHopper(dev driver.Launcher) {
	if p.runInClusters(dev, false) {
		return
	}
	q, units := ptx.On(dev), dev.Attributes().Units
	h := tileFor(p.c.Rows, p.c.Cols, units)
	var s hopperParameters
	s.a, s.b = h.maps(q, p.tr, p.a, p.b)
	s.u, s.l = s.a, s.b
	if p.r > 0 {
		s.u, s.l = h.maps(q, p.tr, p.u, p.l)
	}
	s.p = p.tilesHopper()
	hopperTiles.Launch(q, h.kernels[p.tr], h.grid(p.c.Rows, p.c.Cols, units), &s)
}

func (h *hopperTile) grid(m, n, units int) driver.Config {
	c := ptx.Grid(min(units, h.count(m, n)), 384)
	c.Shared = h.shared
	return c
}

func (p *bf16Problem) tilesHopper() ProductHopper {
	return ProductHopper{
		c: p.c.Data.Addr(), m: int32(p.c.Rows), n: int32(p.c.Cols), ldc: int32(p.c.Ld),
		k: int32(p.k), r: int32(p.r), alpha: p.alpha, add: ptx.Flag(p.add),
	}
}

// HopperWithoutB is the arguments of a kernel of product_hopper.cuh for the product of A and a B
// [rows, cols] that is not in memory, plus U op(L), if there is a U.
type HopperWithoutB struct {
	A, U, L driver.EncodedTensorMap // U and L are A if there is no branch
	P       ProductHopper
	Columns int           // the tile's: 256 or 128
	Grid    driver.Config // with the shared memory of the ring
}

// NewHopperWithoutB checks the shapes and the alignment as RunLoRABF16 does. C is not empty.
func NewHopperWithoutB(dev driver.Launcher, tr Transpose, alpha float32, a BF16, rows, cols int, u, l BF16, beta float32, c F32) HopperWithoutB {
	p := withoutB(tr, alpha, a, rows, cols, u, l, beta, c)
	q, units := ptx.On(dev), dev.Attributes().Units
	h := tileFor(c.Rows, c.Cols, units)
	x := HopperWithoutB{A: tiles16(q, a, 128), P: p.tilesHopper(), Columns: h.columns, Grid: h.grid(c.Rows, c.Cols, units)}
	x.U, x.L = x.A, x.A
	if p.r > 0 {
		x.U, x.L = h.maps(q, tr, u, l)
	}
	return x
}

// maps are those of two factors: boxes of 64 steps, or of 64 rows or columns where steps
// are the outer dimension.
func (h *hopperTile) maps(q *ptx.Queue, tr Transpose, a, b BF16) (ma, mb driver.EncodedTensorMap) {
	boxA, boxB := 128, 64
	if tr == TN {
		boxA = 64
	}
	if tr == NT {
		boxB = h.columns
	}
	return tiles16(q, a, boxA), tiles16(q, b, boxB)
}

func tiles16(q *ptx.Queue, x BF16, rows int) driver.EncodedTensorMap {
	return q.Tiles(x.Data.Addr(), x.Rows, x.Cols, x.Ld, rows)
}
