package gradproj

import (
	_ "embed"
	"encoding/binary"
	"math"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed sparse.sm80.ptx
var sparse80 string

//go:embed gaussian.sm80.ptx
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
func (p *Projection) matrixProduct(b *deviceBlock, partial uintptr, args *driver.Args) *driver.Args {
	var s [120]byte
	for i, v := range [...]uint64{uint64(b.gamma), uint64(partial), uint64(b.first), uint64(b.rows)} {
		binary.LittleEndian.PutUint64(s[8*i:], v)
	}
	binary.LittleEndian.PutUint32(s[32:], uint32(b.n))
	binary.LittleEndian.PutUint32(s[36:], uint32(b.dim))
	p.keys.put(s[40:])
	return args.Bytes(s[:], 8)
}

// put writes the keys of the rounds as the kernels take them.
func (k *roundKeys) put(b []byte) {
	for r := range k {
		binary.LittleEndian.PutUint32(b[8*r:], k[r][0][0])
		binary.LittleEndian.PutUint32(b[8*r+4:], k[r][1][0])
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
	q.Launch(sparseFamily, "gradproj_sjlt", driver.Config{
		Grid:   driver.Dim{X: entries * chunks, Y: blocks, Z: ptx.Blocks(b.n, 32)},
		Block:  driver.Dim{X: 512},
		Shared: 32 * 4 * columns,
	}, p.matrixProduct(b, partial, q.Args()).I32(int32(entries)).I32(int32(columns)).I32(int32(chunks)))
	p.addBlocks(q, b, partial, blocks, float32(1/math.Sqrt(float64(entries))))
}

// gaussianPTX adds the product with the normal matrix to out.
func (p *Projection) gaussianPTX(q *ptx.Queue, b *deviceBlock) {
	blocks := b.rowBlocks(gaussianRows)
	partial := q.Scratch(partialSlot, 4*blocks*b.n*p.dim)
	q.Launch(gaussianFamily, "gradproj_gaussian", driver.Config{
		Grid:  driver.Dim{X: ptx.Blocks(p.dim, 128), Y: blocks, Z: ptx.Blocks(b.n, 64)},
		Block: driver.Dim{X: 256},
	}, p.matrixProduct(b, partial, q.Args()).F32(float32(1/math.Sqrt(float64(p.dim)))))
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
	var s [64]byte
	for i, v := range [...]uint64{uint64(b.gamma), uint64(vectors), uint64(partial), uint64(b.offset - b.first), uint64(b.rows), uint64(b.size), uint64(stride)} {
		binary.LittleEndian.PutUint64(s[8*i:], v)
	}
	binary.LittleEndian.PutUint32(s[56:], uint32(b.n))
	binary.LittleEndian.PutUint32(s[60:], uint32(p.dim))
	q.Launch(family, "gradproj_inner", driver.Config{
		Grid:  driver.Dim{X: parts, Y: ptx.Blocks(b.n, 4), Z: ptx.Blocks(p.dim, 4)},
		Block: driver.Dim{X: 256},
	}, q.Args().Bytes(s[:], 8))
	q.Launch(family, "gradproj_add_inner", ptx.Grid(ptx.Blocks(b.n*p.dim, 256), 256), q.Args().
		Addr(partial).I32(int32(parts)).Addr(b.out).U64(uint64(b.n*p.dim)))
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
