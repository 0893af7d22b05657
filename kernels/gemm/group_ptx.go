package gemm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed group.sm80.ptx.br
var groupSM80 string

//go:embed group.sm90a.ptx.br
var groupSM90a string

var (
	groupFamily       = ptx.New("gemm, groups", groupSM80)
	groupFamilyHopper = ptx.New("gemm, groups for Hopper", groupSM90a)
)

// As in group.cuh.
const (
	maxSums  = 6
	maxPairs = 8
)

// sumArguments are struct sum_of of group.cuh.
type sumArguments struct {
	c, bias   uintptr
	m, n, ldc int32
	alpha     float32
	half, add int32
	from, to  int32
	tiles     int32
}

// groupArguments are struct group of group.cu.
type groupArguments struct {
	pairs [maxPairs]struct {
		a, b     uintptr
		lda, ldb int32
	}
	sums  [maxSums]sumArguments
	steps [maxPairs]int32
}

// groupHopper is struct group of group.sm90a.cu.
type groupHopper struct {
	pairs   [maxPairs]struct{ a, b driver.EncodedTensorMap }
	sums    [maxSums]sumArguments
	slices  [maxPairs]int32
	count   int32
	padding [3]int32
}

var (
	groupTiles       = ptx.Declare[ptx.One[groupArguments]](groupFamily, "gemm_group_*")
	groupTilesHopper = ptx.Declare[ptx.One[groupHopper]](groupFamilyHopper, "gemm_group_*")
)

var groupKernels = [...]string{NN: "gemm_group_nn", NT: "gemm_group_nt", TN: "gemm_group_tn"}

// groupTilesOf are the tiles of Hopper's kernels, as in bf16_hopper.go.
var groupSlim, groupWide = slimTile.named("gemm_group"), wideTile.named("gemm_group")

// named is the tile with the kernels whose names begin like that.
func (h hopperTile) named(stem string) *hopperTile {
	for tr, name := range h.kernels {
		h.kernels[tr] = stem + name[len("gemm_bf16"):]
	}
	return &h
}

func runGroupPTX(dev driver.Launcher, tr Transpose, sums []Sum) {
	if ptx.Hopper(dev) {
		runGroupHopper(dev, tr, sums)
		return
	}
	var g ptx.One[groupArguments]
	pairs, tiles := 0, 0
	place(sums, &g.P.sums, 128, 128)
	for i := range sums {
		for _, p := range sums[i].Pairs {
			at := &g.P.pairs[pairs]
			at.a, at.b, at.lda, at.ldb = p.A.Data.Addr(), p.B.Data.Addr(), int32(p.A.Ld), int32(p.B.Ld)
			g.P.steps[pairs] = int32(steps(tr, p))
			pairs++
		}
		tiles = int(g.P.sums[i].tiles)
	}
	groupTiles.Launch(ptx.On(dev), groupKernels[tr], ptx.Grid(tiles, 256), &g)
}

// runGroupHopper launches one block a multiprocessor, which takes tile after tile.
func runGroupHopper(dev driver.Launcher, tr Transpose, sums []Sum) {
	q, units := ptx.On(dev), dev.Attributes().Units
	if groupClusterPays(tr, sums, dev.Attributes()) && runGroupCluster(q, tr, sums, units) {
		return
	}
	h := groupTileFor(sums, units)
	var g ptx.One[groupHopper]
	tiles := g.P.fill(tr, sums, 128, h.columns, func(a, b BF16) (ma, mb driver.EncodedTensorMap) { return h.maps(q, tr, a, b) })
	c := ptx.Grid(min(units, tiles), 384)
	c.Shared = h.shared
	groupTilesHopper.Launch(q, h.kernels[tr], c, &g)
}

// fill sets the group's parameter for tiles of that many rows and columns, and returns their
// number.
func (g *groupHopper) fill(tr Transpose, sums []Sum, rows, columns int, maps func(a, b BF16) (ma, mb driver.EncodedTensorMap)) (tiles int) {
	place(sums, &g.sums, rows, columns)
	pairs := 0
	for i := range sums {
		for _, p := range sums[i].Pairs {
			g.pairs[pairs].a, g.pairs[pairs].b = maps(p.A, p.B)
			g.slices[pairs] = int32(ptx.Blocks(steps(tr, p), 64))
			pairs++
		}
		tiles = int(g.sums[i].tiles)
	}
	g.count = int32(len(sums))
	return tiles
}

// groupTileFor is tileFor of all sums together: tiles of wide ones are as many in all sums.
func groupTileFor(sums []Sum, units int) *hopperTile {
	wide, slim, widest := 0, 0, 0
	for i := range sums {
		m, n := sums[i].shape()
		wide, slim, widest = wide+groupWide.count(m, n), slim+groupSlim.count(m, n), max(widest, n)
	}
	if widest > groupSlim.columns && 2*ptx.Blocks(wide, units) <= ptx.Blocks(slim, units) {
		return groupWide
	}
	return groupSlim
}

// place fills in the sums for tiles of that many rows and columns.
func place(sums []Sum, to *[maxSums]sumArguments, rows, columns int) {
	pairs, tiles := 0, 0
	for i := range sums {
		s := &sums[i]
		m, n := s.shape()
		tiles += ptx.Blocks(m, rows) * ptx.Blocks(n, columns)
		a := sumArguments{
			c: s.F32.Data.Addr(), bias: s.Bias.Addr(), m: int32(m), n: int32(n), ldc: int32(s.F32.Ld), alpha: s.Alpha, add: ptx.Flag(s.Add),
			from: int32(pairs), to: int32(pairs + len(s.Pairs)), tiles: int32(tiles),
		}
		if !s.Half.IsNil() {
			a.c, a.ldc, a.half = s.Half.Data.Addr(), int32(s.Half.Ld), 1
		}
		to[i], pairs = a, pairs+len(s.Pairs)
	}
	for i := len(sums); i < maxSums; i++ {
		to[i].tiles = int32(tiles)
	}
}

// steps is the depth of a product.
func steps(tr Transpose, p Pair) int {
	if tr == TN {
		return p.A.Rows
	}
	return p.A.Cols
}
