package gradproj

import (
	_ "embed"
	"encoding/binary"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed gradproj.sm80.ptx
var sm80 string

var family = ptx.New("gradproj", sm80)

// As in the .cu files.
const (
	planeRows = 128  // gamma begins and ends on a multiple of it
	splitRows = 4096 // rows of a block of split
	tileSize  = 4096 // entries of a block of form
)

// Scratch buffers.
const (
	gammaSlot = iota
	partialSlot
	normSlot
	tableSlot
	sumSlot
)

// deviceBlock is a part of the gradients on its way: struct block of gradient.cuh and what
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

func (p *Projection) densePTX(dev driver.Launcher, g driver.F32, offset int, adam *Adam, out driver.F32, normSq *float64) {
	if g.Len() == 0 {
		return
	}
	q, norms := ptx.On(dev), p.scratchNorms(dev, 1)
	b := p.deviceBlock(1, g.Len(), offset, adam, out)
	b.g = g.Addr()
	p.transformPTX(q, &b, ptx.Blocks(b.rows, splitRows), "gradproj_split", "", norms)
	p.multiplyPTX(dev, &b)
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

// formPTX forms the pair's gradients and hands them to transformPTX.
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
	q.Launch(family, kernel+"_to_"+target+suffix, ptx.Grid2(b.n, parts, 256), b.pack(q))
	q.Launch(family, "gradproj_norms", ptx.Grid(b.n, 32), q.Args().Addr(b.norms).I32(int32(parts)).Addr(norms))
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
	q.Launch(family, "gradproj_add_blocks", ptx.Grid(ptx.Blocks(entries, 256), 256), q.Args().
		Addr(partial).I32(int32(blocks)).U64(uint64(entries)).Addr(b.out).U64(uint64(entries)).F32(scale))
}

func (b *deviceBlock) pack(q *ptx.Queue) *driver.Args {
	var f Factors
	if b.factors != nil {
		f = *b.factors
	}
	var d direction
	var m, v uintptr
	if b.adam != nil {
		d, m, v = newDirection(b.adam), b.adam.M.Addr(), b.adam.V.Addr()
	}
	var s [184]byte
	for i, x := range [...]uint64{
		uint64(f.V.Addr()), uint64(f.U.Addr()), uint64(f.X.Addr()), uint64(f.DY.Addr()), uint64(b.segments), uint64(b.g),
		uint64(m), uint64(v), uint64(b.offset), uint64(b.size), uint64(b.first), uint64(b.rows), uint64(b.capacity * b.rows), uint64(b.gamma), uint64(b.out), uint64(b.norms),
	} {
		binary.LittleEndian.PutUint64(s[8*i:], x)
	}
	for i, x := range [...]uint32{
		uint32(f.In), uint32(f.Out), uint32(f.Rank), uint32(b.dim), b.rounding, math.Float32bits(f.Scale),
	} {
		binary.LittleEndian.PutUint32(s[128+4*i:], x)
	}
	for i, x := range d {
		binary.LittleEndian.PutUint32(s[152+4*i:], math.Float32bits(x))
	}
	return q.Args().Bytes(s[:], 8)
}

// newDirection is the numbers of a's direction: those of transformer, which also needs
// the moments on the host.
func newDirection(a *Adam) direction {
	host := *a
	host.M, host.V = driver.F32{}, driver.F32{}
	p := Projection{}
	return *p.transformer(&host).c
}
