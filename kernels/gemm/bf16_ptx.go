package gemm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed bf16.sm80.ptx.br
var bf16SM80 string

var bf16Family = ptx.New("gemm, bf16", bf16SM80)

var (
	bf16Kernels   = [...]string{NN: "gemm_bf16_nn", NT: "gemm_bf16_nt", TN: "gemm_bf16_tn"}
	branchKernels = [...]string{NN: "gemm_bf16_nn_branch", NT: "gemm_bf16_nt_branch"}
)

// ProductBF16 is struct problem of product_bf16.cuh. Kernels of other packages that decode B
// themselves take it, too.
type ProductBF16 struct {
	a, b, c                uintptr
	m, n, k, lda, ldb, ldc int32
	alpha                  float32
	add                    int32
	u, l                   uintptr // the branch: r more steps
	r, ldu, ldl            int32
}

var bf16Tiles = ptx.Declare[ptx.One[ProductBF16]](bf16Family, "gemm_bf16_*")

// bf16Problem is C = alpha (op(A) op(B) + U op(L)) + beta C on a device that runs PTX, over
// k and r steps.
type bf16Problem struct {
	tr         Transpose
	k, r       int
	a, b, u, l BF16
	c          F32
	alpha      float32
	add        bool
}

func (p *bf16Problem) run(dev driver.Launcher) {
	m, n := p.c.Rows, p.c.Cols
	if m == 0 || n == 0 {
		return
	}
	if p.k == 0 { // the branch alone, which may be nothing
		p.a, p.b, p.k, p.r = p.u, p.l, p.r, 0
	}
	if p.k > 0 && ptx.Hopper(dev) {
		p.runHopper(dev)
		return
	}
	kernel := bf16Kernels[p.tr]
	if p.r > 0 {
		kernel = branchKernels[p.tr]
	}
	s := p.tiles()
	s.b, s.ldb = p.b.Data.Addr(), int32(p.b.Ld)
	bf16Tiles.Launch(ptx.On(dev), kernel, GridBF16(m, n), &ptx.One[ProductBF16]{P: s})
}

// tiles is p without B.
func (p *bf16Problem) tiles() ProductBF16 {
	return ProductBF16{
		a: p.a.Data.Addr(), c: p.c.Data.Addr(), m: int32(p.c.Rows), n: int32(p.c.Cols), k: int32(p.k),
		lda: int32(p.a.Ld), ldc: int32(p.c.Ld), alpha: p.alpha, add: ptx.Flag(p.add),
		u: p.u.Data.Addr(), l: p.l.Data.Addr(), r: int32(p.r), ldu: int32(p.u.Ld), ldl: int32(p.l.Ld),
	}
}

// GridBF16 is the launch of the tiles of tile_bf16.cuh for an m by n product.
func GridBF16(m, n int) driver.Config { return ptx.Grid2(ptx.Blocks(n, 128), ptx.Blocks(m, 128), 256) }

// ProductBF16WithoutB is the product of A and a B [rows, cols] that is not in memory, plus U
// op(L), if there is a U: it checks the shapes and the alignment as RunLoRABF16 does.
func ProductBF16WithoutB(tr Transpose, alpha float32, a BF16, rows, cols int, u, l BF16, beta float32, c F32) ProductBF16 {
	p := withoutB(tr, alpha, a, rows, cols, u, l, beta, c)
	return p.tiles()
}

func withoutB(tr Transpose, alpha float32, a BF16, rows, cols int, u, l BF16, beta float32, c F32) *bf16Problem {
	p := bf16Problem{tr: tr, alpha: alpha, a: a, u: u, l: l, add: beta == 1, c: c}
	p.k = checkShapes(tr, a, BF16{Rows: rows, Cols: cols, Ld: cols}, beta, c)
	if !u.IsNil() {
		p.r = depth(tr, u, l, beta, c)
	}
	if (a.Data.Addr()|u.Data.Addr()|l.Data.Addr())%16 != 0 || (a.Ld|u.Ld|l.Ld)%8 != 0 {
		panic(unalignedBF16)
	}
	return &p
}
