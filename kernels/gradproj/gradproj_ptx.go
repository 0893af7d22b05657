package gradproj

import (
	_ "embed"
	"encoding/binary"
	"math"

	"dataflex/driver"
	"dataflex/kernels/ptx"
)

//go:embed gradproj.sm80.ptx
var sm80 string

//go:embed signs.sm80.ptx
var signs80 string

var (
	family     = ptx.New("gradproj", sm80)
	signFamily = ptx.New("gradproj signs", signs80)
)

// As in gradproj.cu.
const (
	planeRows = 128   // the planes begin and end on a multiple of it
	splitRows = 4096  // rows of a partial norm
	sumRows   = 16384 // rows summed before the blocks are added up
	signCols  = 256   // columns of a block
)

// Scratch buffers.
const (
	gradientSlot = iota
	planeSlot
	partialSlot
	normSlot
)

// deviceBlock is struct block of gradproj.cu.
type deviceBlock struct {
	g                         uintptr
	adam                      *Adam
	offset, size, first, rows int
	planes, out, norms        uintptr
	n, samples, dim           int
	half                      bool
}

func (p *Projection) accumulatePTX(dev driver.Launcher, f *Factors, adam *Adam, out driver.F32, normSq []float64) {
	q := ptx.On(dev)
	n, size := f.Samples(), f.Size()
	g := q.Scratch(gradientSlot, 4*n*size)
	segments := ptx.Upload(q, f.Segments)
	q.Launch(family, "gradproj_form_a", formGrid(f.Rank, f.In, 32, 128, n), formed{
		a: f.V.Addr(), b: f.X.Addr(), c: g, m: f.Rank, n: f.In, scale: 1,
	}.pack(q).Addr(segments).U64(uint64(size)))
	q.Launch(family, "gradproj_form_b", formGrid(f.Out, f.Rank, 128, 32, n), formed{
		a: f.DY.Addr(), b: f.U.Addr(), c: g + uintptr(4*f.Rank*f.In), m: f.Out, n: f.Rank, scale: f.Scale,
	}.pack(q).Addr(segments).U64(uint64(size)))
	p.projectPTX(q, g, n, size, f.Offset, adam, out, normSq)
}

func (p *Projection) densePTX(dev driver.Launcher, g driver.F32, offset int, adam *Adam, out driver.F32, normSq *float64) {
	norm := []float64{0}
	p.projectPTX(ptx.On(dev), g.Addr(), 1, g.Len(), offset, adam, out, norm)
	*normSq += norm[0]
}

// projectPTX transforms the gradients g [n, size] and adds their projections to out.
func (p *Projection) projectPTX(q *ptx.Queue, g uintptr, n, size, offset int, adam *Adam, out driver.F32, normSq []float64) {
	if size == 0 {
		return
	}
	first := offset / planeRows * planeRows
	b := deviceBlock{
		g: g, adam: adam, offset: offset, size: size, first: first, rows: ptx.Blocks(offset+size-first, planeRows) * planeRows,
		out: out.Addr(), n: n, samples: n, dim: p.dim, half: p.opt.Float16,
	}
	parts := ptx.Blocks(b.rows, splitRows)
	b.norms = q.Scratch(normSlot, 8*n*(parts+1))
	switch p.kind {
	case Rademacher:
		p.signsPTX(q, &b, parts, out)
	case None:
		q.Launch(family, "gradproj_add", ptx.Grid2(parts, n, 256), b.pack(q))
	default:
		panic("gradproj: no kernel for kind " + string(p.kind))
	}
	sums := b.norms + uintptr(8*n*parts)
	q.Launch(family, "gradproj_norms", ptx.Grid(n, 32), q.Args().Addr(b.norms).I32(int32(parts)).Addr(sums))
	host := make([]byte, 8*n)
	q.Read(host, sums)
	for i := range normSq {
		normSq[i] += math.Float64frombits(binary.LittleEndian.Uint64(host[8*i:]))
	}
}

// signsPTX writes the planes, multiplies them with R and adds the blocks of rows to out.
func (p *Projection) signsPTX(q *ptx.Queue, b *deviceBlock, parts int, out driver.F32) {
	format, split, planes := "_bf16x3", "_bf16", 3
	if b.half {
		format, split, planes = "_f16", "_f16", 1
	}
	group, suffix := 64, "_64"
	if b.n <= 16 {
		group, suffix = 16, "_16"
	}
	b.planes = q.Scratch(planeSlot, 2*planes*b.n*b.rows)
	q.Launch(family, "gradproj_split"+split, ptx.Grid2(parts, b.n, 256), b.pack(q))

	blocks := (b.first+b.rows-1)/sumRows - b.first/sumRows + 1
	partial := q.Scratch(partialSlot, 4*blocks*b.n*p.dim)
	grid := driver.Config{
		Grid:  driver.Dim{X: ptx.Blocks(p.dim, signCols), Y: blocks, Z: ptx.Blocks(b.n, group)},
		Block: driver.Dim{X: 256},
	}
	q.Launch(signFamily, "gradproj_signs"+format+suffix, grid, signedProduct{
		planes: b.planes, partial: partial, first: b.first, rows: b.rows, n: b.n, dim: p.dim, keys: &p.keys,
	}.pack(q))
	entries := b.n * p.dim
	q.Launch(family, "gradproj_add_blocks", ptx.Grid(ptx.Blocks(entries, 256), 256), q.Args().
		Addr(partial).I32(int32(blocks)).U64(uint64(b.n*p.dim)).Addr(out.Addr()).U64(uint64(entries)).
		F32(float32(1/math.Sqrt(float64(p.dim)))))
}

func formGrid(m, n, bm, bn, samples int) driver.Config {
	return driver.Config{Grid: driver.Dim{X: ptx.Blocks(n, bn), Y: ptx.Blocks(m, bm), Z: samples}, Block: driver.Dim{X: 256}}
}

// formed is struct problem of gemm/tile.cuh: the dense C[m,n] = scale A'B of one sample.
type formed struct {
	a, b, c uintptr
	m, n    int
	scale   float32
}

func (p formed) pack(q *ptx.Queue) *driver.Args {
	var b [72]byte
	for i, v := range [...]uintptr{p.a, p.b, p.c} {
		binary.LittleEndian.PutUint64(b[8*i:], uint64(v))
	}
	// m, n, k (a sample's own), lda, ldb, ldc
	for i, v := range [...]int{p.m, p.n, 0, p.m, p.n, p.n} {
		binary.LittleEndian.PutUint32(b[32+4*i:], uint32(v))
	}
	binary.LittleEndian.PutUint32(b[60:], math.Float32bits(p.scale))
	return q.Args().Bytes(b[:], 8)
}

func (b *deviceBlock) pack(q *ptx.Queue) *driver.Args {
	var d direction
	var m, v uintptr
	if b.adam != nil {
		d, m, v = newDirection(b.adam), b.adam.M.Addr(), b.adam.V.Addr()
	}
	var s [128]byte
	for i, x := range [...]uint64{
		uint64(b.g), uint64(m), uint64(v), uint64(b.offset), uint64(b.size), uint64(b.first), uint64(b.rows),
		uint64(b.planes), uint64(b.out), uint64(b.norms),
	} {
		binary.LittleEndian.PutUint64(s[8*i:], x)
	}
	half := 0
	if b.half {
		half = 1
	}
	for i, x := range [...]int{b.n, b.samples, b.dim, half} {
		binary.LittleEndian.PutUint32(s[80+4*i:], uint32(x))
	}
	for i, x := range d {
		binary.LittleEndian.PutUint32(s[96+4*i:], math.Float32bits(x))
	}
	return q.Args().Bytes(s[:], 8)
}

// signedProduct is struct signed_product of signs.cuh.
type signedProduct struct {
	planes, partial, table uintptr
	first, rows            int
	n, dim                 int
	block, pairs           int
	keys                   *roundKeys
}

func (p signedProduct) pack(q *ptx.Queue) *driver.Args {
	var b [136]byte
	for i, v := range [...]uint64{uint64(p.planes), uint64(p.partial), uint64(p.table), uint64(p.first), uint64(p.rows)} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	for i, v := range [...]uint32{uint32(p.n), uint32(p.dim), uint32(p.block), uint32(p.pairs)} {
		binary.LittleEndian.PutUint32(b[40+4*i:], v)
	}
	for r := range p.keys {
		binary.LittleEndian.PutUint32(b[56+8*r:], p.keys[r][0][0])
		binary.LittleEndian.PutUint32(b[60+8*r:], p.keys[r][1][0])
	}
	return q.Args().Bytes(b[:], 8)
}

// newDirection is the numbers of a's direction: those of transformer, which also needs
// the moments on the host.
func newDirection(a *Adam) direction {
	host := *a
	host.M, host.V = driver.F32{}, driver.F32{}
	p := Projection{}
	return *p.transformer(&host).c
}
