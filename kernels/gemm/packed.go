package gemm

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

// Packed is a float32 matrix B on the host, packed as the kernels read it: for many products
// with the same B. It serves one kind of product, NN or NT.
//
// Panels of columns follow each other, each of them step by step, whatever blocks of steps a
// product takes. The last may be narrower.
type Packed struct {
	data  []float32
	tr    Transpose
	n, k  int     // columns and steps
	tiles tileSet // of the level that it was packed for
}

// Packs reports whether products with a packed B are faster than others. On the levels
// below AVX-512 packing takes 1 to 2 % of a product's time (see the package), which is not
// worth twice the memory.
func Packs() bool { return simd.Level() == "avx512" }

// PackedBytes is the memory of a Packed of k steps and n columns.
func PackedBytes(k, n int) int {
	width := tiles().width()
	return 4 * k * ((n + width - 1) / width * width)
}

// NewPacked packs b for products tr, NN or NT, with it, into PackedBytes of memory.
func NewPacked(d *cpu.Device, tr Transpose, b F32, memory driver.F32) *Packed {
	if tr == TN {
		panic(badTranspose)
	}
	x := &Packed{data: memory.Host(), tr: tr, k: b.Rows, n: b.Cols, tiles: tiles()}
	if tr == NT {
		x.k, x.n = b.Cols, b.Rows
	}
	if len(x.data) < PackedBytes(x.k, x.n)/4 {
		panic("gemm: less than PackedBytes to pack into")
	}
	from := newProblem(tr, x.k, 1, nil, 0, b.Data.Host(), b.Ld, 0, F32{}).b
	width := x.tiles.width()
	d.Parallel((x.n+width-1)/width, func(q int) {
		j0, j1 := q*width, min(q*width+width, x.n)
		packB(x.data[j0*x.k:], x.tiles.fit(j1-j0).width, from, j0, j1, 0, x.k)
	})
	return x
}

// matrix has the shape of what was packed.
func (x *Packed) matrix(tr Transpose) F32 {
	if tr != x.tr {
		panic(badTranspose)
	}
	if tr == NT {
		return F32{Rows: x.n, Cols: x.k, Ld: x.k}
	}
	return F32{Rows: x.k, Cols: x.n, Ld: x.n}
}

// LowRank is a product of two factors with few columns between them, beside A op(B):
// U = DownScale A op(Down), which is overwritten, and UpScale U op(Up), which is added to C.
type LowRank struct {
	Down, Up           F32
	DownScale, UpScale float32
	U                  F32
}

// RunPacked is Run with a packed B. The bits are the same.
func RunPacked(d *cpu.Device, tr Transpose, alpha float32, a F32, b *Packed, beta float32, c F32) {
	p := newPackedProblem(tr, alpha, a, b, beta, c)
	p.run(d)
}

// RunLowRank is RunPacked with l beside it: A is read once for both. The bits are those of
// three calls of Run, of U, of A op(B) and of what is added.
func RunLowRank(d *cpu.Device, tr Transpose, a F32, b *Packed, l LowRank, beta float32, c F32) {
	p := newPackedProblem(tr, 1, a, b, beta, c)
	k, r := depth(tr, a, l.Down, 0, l.U), depth(tr, l.U, l.Up, 1, c)
	p.down = newProblem(tr, k, l.DownScale, a.Data.Host(), a.Ld, l.Down.Data.Host(), l.Down.Ld, 0, l.U)
	p.up = newProblem(tr, r, l.UpScale, l.U.Data.Host(), l.U.Ld, l.Up.Data.Host(), l.Up.Ld, 1, c)
	p.down.tiles, p.up.tiles = b.tiles, b.tiles
	p.run(d)
}

func newPackedProblem(tr Transpose, alpha float32, a F32, b *Packed, beta float32, c F32) packedProblem {
	k := checkShapes(tr, a, b.matrix(tr), beta, c)
	p := packedProblem{problem: newProblem(tr, k, alpha, a.Data.Host(), a.Ld, nil, 0, beta, c), b: b}
	p.tiles = b.tiles
	return p
}
