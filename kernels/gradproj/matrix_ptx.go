package gradproj

import (
	_ "embed"
	"math"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/philox"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed sparse.sm80.ptx.br
var sparse80 string

//go:embed gaussian.sm80.ptx.br
var gaussian80 string

var (
	sparseFamily   = ptx.New("gradproj sparse", sparse80)
	gaussianFamily = ptx.New("gradproj gaussian", gaussian80)
)

// As in sparse.cu, gaussian.cu and gradproj.cu.
const (
	sjltRows     = 8192 // rows that are summed before the blocks are added up
	sjltCols     = 1024 // columns of a block, at most
	gaussianRows = 4096
	innerRows    = 16384
)

// matrixProduct is struct matrix_product of matrix.cuh.
type matrixProduct struct {
	gamma, partial uintptr
	first, rows    int64
	n, dim         int32
	keys           philox.Keys
}

// Parameters of the kernels of sparse.cu, gaussian.cu and, of inner products, gradproj.cu.
type (
	sjltParameters struct {
		p                        matrixProduct
		entries, columns, chunks int32
	}
	gaussianParameters struct {
		p     matrixProduct
		scale float32
	}
	innerArguments struct {
		gamma, vectors, partial  uintptr
		head, rows, size, stride int64
		n, dim                   int32
	}
	addInnerParameters struct {
		partial uintptr
		parts   int32
		out     uintptr
		n       uint64
	}
)

var (
	sjlts     = ptx.Declare[sjltParameters](sparseFamily, "gradproj_sjlt")
	gaussians = ptx.Declare[gaussianParameters](gaussianFamily, "gradproj_gaussian")
	inners    = ptx.Declare[ptx.One[innerArguments]](family, "gradproj_inner")
	addInner  = ptx.Declare[addInnerParameters](family, "gradproj_add_inner")
)

func (p *Projection) matrixProduct(b *deviceBlock, partial uintptr) matrixProduct {
	return matrixProduct{
		gamma: b.gamma, partial: partial, first: int64(b.first), rows: int64(b.rows), n: int32(b.n), dim: int32(b.dim), keys: p.keys.device(),
	}
}

// rowBlocks is how many blocks of size rows, aligned in the gradient, the planes touch.
func (b *deviceBlock) rowBlocks(size int) int { return (b.first+b.rows-1)/size - b.first/size + 1 }

// sjltPTX adds the product with the sparse matrix to out, with the host twin's bits.
func (p *Projection) sjltPTX(q *ptx.Queue, b *deviceBlock) {
	entries := p.opt.Entries
	widest := ptx.Blocks(p.dim, entries)
	columns := min(widest, sjltCols)
	chunks := ptx.Blocks(widest, columns)
	blocks := b.rowBlocks(sjltRows)
	partial := q.Scratch(partialSlot, 4*blocks*b.n*p.dim)
	sjlts.Launch(q, "gradproj_sjlt", driver.Config{
		Grid:   driver.Dim{X: entries * chunks, Y: blocks, Z: ptx.Blocks(b.n, 32)},
		Block:  driver.Dim{X: 512},
		Shared: 32 * 4 * columns,
	}, &sjltParameters{p: p.matrixProduct(b, partial), entries: int32(entries), columns: int32(columns), chunks: int32(chunks)})
	p.addBlocks(q, b, partial, blocks, float32(1/math.Sqrt(float64(entries))))
}

// gaussianPTX adds the product with the normal matrix to out.
func (p *Projection) gaussianPTX(q *ptx.Queue, b *deviceBlock) {
	blocks := b.rowBlocks(gaussianRows)
	partial := q.Scratch(partialSlot, 4*blocks*b.n*p.dim)
	gaussians.Launch(q, "gradproj_gaussian", driver.Config{
		Grid:  driver.Dim{X: ptx.Blocks(p.dim, 128), Y: blocks, Z: ptx.Blocks(b.n, 64)},
		Block: driver.Dim{X: 256},
	}, &gaussianParameters{p: p.matrixProduct(b, partial), scale: float32(1 / math.Sqrt(float64(p.dim)))})
	p.addBlocks(q, b, partial, blocks, 1)
}

// innerPTX adds the inner products with the vectors. Vectors on the host are copied block
// by block: they need not fit the device.
func (p *Projection) innerPTX(dev driver.Launcher, b *deviceBlock) {
	q := ptx.On(dev)
	vectors, stride := p.opt.Vectors.Addr(), p.total
	if vectors == 0 {
		vectors, stride = q.Scratch(tableSlot, 4*p.dim*b.size), b.size
		for k := range p.dim {
			part := p.opt.Vectors.Host()[k*p.total+b.offset:][:b.size]
			copyIn(dev, vectors+uintptr(4*k*b.size), floatBytes(part))
		}
	} else {
		vectors += uintptr(4 * b.offset)
	}
	parts := ptx.Blocks(b.size, innerRows)
	partial := q.Scratch(partialSlot, 8*parts*b.n*p.dim)
	inners.Launch(q, "gradproj_inner", driver.Config{
		Grid:  driver.Dim{X: parts, Y: ptx.Blocks(b.n, 4), Z: ptx.Blocks(p.dim, 4)},
		Block: driver.Dim{X: 256},
	}, &ptx.One[innerArguments]{P: innerArguments{
		gamma: b.gamma, vectors: vectors, partial: partial, head: int64(b.offset - b.first), rows: int64(b.rows), size: int64(b.size),
		stride: int64(stride), n: int32(b.n), dim: int32(p.dim),
	}})
	addInner.Launch(q, "gradproj_add_inner", ptx.Grid(ptx.Blocks(b.n*p.dim, 256), 256), &addInnerParameters{
		partial: partial, parts: int32(parts), out: b.out, n: uint64(b.n * p.dim),
	})
}

// copyIn copies to scratch memory, after the work queued so far.
func copyIn(dev driver.Launcher, addr uintptr, b []byte) {
	if err := dev.CopyIn(driver.DeviceMemory(addr, len(b)), b); err != nil {
		panic(&ptx.Error{Op: "gradproj: a table", Err: err})
	}
}

func floatBytes(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
