package gemm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed bf16.sm90a.ptx.zst
var bf16SM90a string

var hopperFamily = ptx.New("gemm, bf16 for Hopper", bf16SM90a)

// hopperParameters are those of the kernels of bf16.sm90a.cu: the factors, those of the
// branch, and struct problem.
type hopperParameters struct {
	a, b, u, l driver.EncodedTensorMap
	p          struct {
		c               uintptr
		m, n, k, r, ldc int32
		alpha           float32
		add             int32
	}
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
	q, units := ptx.On(dev), dev.Attributes().Units
	h := tileFor(p.c.Rows, p.c.Cols, units)
	var s hopperParameters
	s.a, s.b = h.maps(q, p.tr, p.a, p.b)
	s.u, s.l = s.a, s.b
	if p.r > 0 {
		s.u, s.l = h.maps(q, p.tr, p.u, p.l)
	}
	s.p.c, s.p.m, s.p.n, s.p.ldc = p.c.Data.Addr(), int32(p.c.Rows), int32(p.c.Cols), int32(p.c.Ld)
	s.p.k, s.p.r, s.p.alpha, s.p.add = int32(p.k), int32(p.r), p.alpha, ptx.Flag(p.add)
	c := ptx.Grid(min(units, h.count(p.c.Rows, p.c.Cols)), 384)
	c.Shared = h.shared
	hopperTiles.Launch(q, h.kernels[p.tr], c, &s)
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
