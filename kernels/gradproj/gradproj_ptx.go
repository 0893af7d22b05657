package gradproj

import (
	_ "embed"
	"encoding/binary"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed gradproj.sm80.ptx.br
var sm80 string

var family = ptx.New("gradproj", sm80)

// As in the .cu files.
const (
	planeRows = 128  // gamma begins and ends on a multiple of it
	splitRows = 4096 // rows of a block of split
	tileSize  = 4096 // entries of a block of form
)

// longestDense is the entries of a dense gradient in one launch: 65535 rows of blocks, the
// most that a grid has, but for what alignment adds at either end. A billion of embeddings is
// more.
const longestDense = (65535 - 3) * splitRows

// Scratch buffers.
const (
	gammaSlot = iota
	partialSlot
	normSlot
	tableSlot
	sumSlot
)

// deviceBlock is a part of the gradients being projected: struct block of gradient.cuh and what
// the products need of it.
type deviceBlock struct {
	factors                   *Factors // or g
	g                         uintptr
	segments                  uintptr
	adam                      *Adam
	offset, size, first, rows int
	gamma, out, norms         uintptr
	n, dim                    int
	capacity                  int // samples gamma has room for
	rounding                  uint32
}

func (p *Projection) accumulatePTX(dev driver.Launcher, f *Factors, adam *Adam, out driver.F32, normSq []float64) {
	if f.Size() == 0 {
		return
	}
	q, norms := ptx.On(dev), p.scratchNorms(dev, f.Samples())
	b := p.deviceBlock(f.Samples(), f.Size(), f.Offset, adam, out)
	p.formPTX(q, &b, f, norms)
	p.multiplyPTX(dev, &b)
	readNorms(q, norms, normSq)
}

// densePTX takes gradients longer than a grid reaches in pieces.
func (p *Projection) densePTX(dev driver.Launcher, g driver.F32, offset int, adam *Adam, out driver.F32, normSq *float64) {
	if g.Len() == 0 {
		return
	}
	q, norms := ptx.On(dev), p.scratchNorms(dev, 1)
	for lo := 0; lo < g.Len(); lo += longestDense {
		hi := min(lo+longestDense, g.Len())
		part := adam
		if adam != nil && hi-lo < g.Len() {
			a := *adam
			a.M, a.V = adam.M.Sub(lo, hi), adam.V.Sub(lo, hi)
			part = &a
		}
		b := p.deviceBlock(1, hi-lo, offset+lo, part, out)
		b.g = g.Sub(lo, hi).Addr()
		p.transformPTX(q, &b, ptx.Blocks(b.rows, splitRows), "gradproj_split", "", norms)
		p.multiplyPTX(dev, &b)
	}
	sum := []float64{*normSq}
	readNorms(q, norms, sum)
	*normSq = sum[0]
}

func (p *Projection) deviceBlock(n, size, offset int, adam *Adam, out driver.F32) deviceBlock {
	first := offset / planeRows * planeRows
	b := deviceBlock{
		adam: adam, offset: offset, size: size, first: first, rows: ptx.Blocks(offset+size-first, planeRows) * planeRows,
		out: out.Addr(), n: n, dim: p.dim, capacity: n,
	}
	switch { // as the enum of gradient.cuh
	case p.opt.Float16:
		b.rounding = 1
	case p.opt.BF16:
		b.rounding = 2
	}
	return b
}

// target is the form in which the gradients reach the projection: planes of numbers of
// that many bytes.
func (p *Projection) target() (name string, planes, bytes int) {
	switch {
	case p.kind == None:
		return "out", 0, 0
	case p.kind != Rademacher && p.kind != TRAK:
		return "f32", 1, 4
	case p.opt.Float16:
		return "f16", 1, 2
	case p.opt.BF16:
		return "bf16", 1, 2
	}
	return "bf16x3", 3, 2
}

// scratchNorms is memory for n square norms, zero.
func (p *Projection) scratchNorms(dev driver.Launcher, n int) uintptr {
	norms := ptx.On(dev).Scratch(sumSlot, 8*n)
	copyIn(dev, norms, make([]byte, 8*n))
	return norms
}

// formPTX forms the pair's gradients and passes them to transformPTX.
func (p *Projection) formPTX(q *ptx.Queue, b *deviceBlock, f *Factors, norms uintptr) {
	b.factors, b.segments = f, ptx.Upload(q, f.Segments)
	// Blocks of 16 x 256 entries, or of 32 x 128.
	down, suffix := 16, "_16"
	if f.Rank > 16 {
		down, suffix = 32, "_32"
	}
	tiles := ptx.Blocks(f.Rank, down) * (ptx.Blocks(f.In, tileSize/down) + ptx.Blocks(f.Out, tileSize/down))
	format := "f32"
	if p.opt.BF16 {
		format = "bf16"
	}
	p.transformPTX(q, b, tiles, "gradproj_form_"+format, suffix, norms)
}

// transformPTX leaves the block's gradients, transformed by parts blocks of a kernel for
// each sample, in gamma (scratch if there is none), and adds their square norms to norms.
func (p *Projection) transformPTX(q *ptx.Queue, b *deviceBlock, parts int, kernel, suffix string, norms uintptr) {
	target, planes, bytes := p.target()
	if b.gamma == 0 {
		b.gamma = q.Scratch(gammaSlot, planes*bytes*b.n*b.rows)
	}
	b.norms = q.Scratch(normSlot, 8*b.n*parts)
	blocks.Launch(q, kernel+"_to_"+target+suffix, ptx.Grid2(b.n, parts, 256), &ptx.One[blockArguments]{P: b.arguments()})
	sums.Launch(q, "gradproj_norms", ptx.Grid(b.n, 32), &normParameters{parts: b.norms, n: int32(parts), norms: norms})
}

// multiplyPTX adds the projections of gamma to out.
func (p *Projection) multiplyPTX(dev driver.Launcher, b *deviceBlock) {
	q := ptx.On(dev)
	switch p.kind {
	case Rademacher:
		p.signsPTX(dev, b)
	case TRAK:
		p.trakPTX(dev, b)
	case SJLT:
		p.sjltPTX(q, b)
	case Gaussian:
		p.gaussianPTX(q, b)
	case Inner:
		p.innerPTX(dev, b)
	}
}

// readNorms adds the square norms on the device to normSq.
func readNorms(q *ptx.Queue, norms uintptr, normSq []float64) {
	host := make([]byte, 8*len(normSq))
	q.Read(host, norms)
	for i := range normSq {
		normSq[i] += math.Float64frombits(binary.LittleEndian.Uint64(host[8*i:]))
	}
}

// addBlocks adds scale times the sum over the blocks of rows to out.
func (p *Projection) addBlocks(q *ptx.Queue, b *deviceBlock, partial uintptr, blocks int, scale float32) {
	entries := b.n * p.dim
	addBlocks.Launch(q, "gradproj_add_blocks", ptx.Grid(ptx.Blocks(entries, 256), 256), &addBlocksParameters{
		partial: partial, blocks: int32(blocks), stride: uint64(entries), out: b.out, n: uint64(entries), scale: scale,
	})
}

// blockArguments are struct block of gradient.cuh.
type blockArguments struct {
	narrow, wide                     [2]uintptr
	segments, g, m, v                uintptr
	offset, size, first, rows, plane int64
	gamma, out, norms                uintptr
	width                            [2]int32
	rank, dim                        int32
	rounding                         uint32
	scale                            float32
	c                                direction
}

// Parameters of the other kernels of gradproj.cu.
type (
	normParameters struct {
		parts uintptr
		n     int32
		norms uintptr
	}
	addBlocksParameters struct {
		partial uintptr
		blocks  int32
		stride  uint64
		out     uintptr
		n       uint64
		scale   float32
	}
)

var (
	blocks    = ptx.Declare[ptx.One[blockArguments]](family, "gradproj_form_*", "gradproj_split_*")
	sums      = ptx.Declare[normParameters](family, "gradproj_norms")
	addBlocks = ptx.Declare[addBlocksParameters](family, "gradproj_add_blocks")
)

func (b *deviceBlock) arguments() blockArguments {
	a := blockArguments{
		segments: b.segments, g: b.g, offset: int64(b.offset), size: int64(b.size), first: int64(b.first), rows: int64(b.rows),
		plane: int64(b.capacity * b.rows), gamma: b.gamma, out: b.out, norms: b.norms, dim: int32(b.dim), rounding: b.rounding,
	}
	if f := b.factors; f != nil {
		a.narrow, a.wide = [2]uintptr{f.V.Addr(), f.U.Addr()}, [2]uintptr{f.X.Addr(), f.DY.Addr()}
		a.width, a.rank, a.scale = [2]int32{int32(f.In), int32(f.Out)}, int32(f.Rank), f.Scale
	}
	if b.adam != nil {
		a.c, a.m, a.v = newDirection(b.adam), b.adam.M.Addr(), b.adam.V.Addr()
	}
	return a
}

// newDirection is the numbers of a's direction: those of transformer, which also needs
// the moments on the host.
func newDirection(a *Adam) direction {
	host := *a
	host.M, host.V = driver.F32{}, driver.F32{}
	p := Projection{}
	return *p.transformer(&host).c
}
