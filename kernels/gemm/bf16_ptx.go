package gemm

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed bf16.sm80.ptx.zst
var bf16SM80 string

var bf16Family = ptx.New("gemm, bf16", bf16SM80)

var (
	bf16Kernels   = [...]string{NN: "gemm_bf16_nn", NT: "gemm_bf16_nt", TN: "gemm_bf16_tn"}
	branchKernels = [...]string{NN: "gemm_bf16_nn_branch", NT: "gemm_bf16_nt_branch"}
)

// bf16Arguments are struct problem of bf16.cu.
type bf16Arguments struct {
	a, b, c                uintptr
	m, n, k, lda, ldb, ldc int32
	alpha                  float32
	add                    int32
	u, l                   uintptr // the branch: r more steps
	r, ldu, ldl            int32
}

var bf16Tiles = ptx.Declare[ptx.One[bf16Arguments]](bf16Family, "gemm_bf16_*")

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
	bf16Tiles.Launch(ptx.On(dev), kernel, ptx.Grid2(ptx.Blocks(n, 128), ptx.Blocks(m, 128), 256), &ptx.One[bf16Arguments]{P: bf16Arguments{
		a: p.a.Data.Addr(), b: p.b.Data.Addr(), c: p.c.Data.Addr(), m: int32(m), n: int32(n), k: int32(p.k),
		lda: int32(p.a.Ld), ldb: int32(p.b.Ld), ldc: int32(p.c.Ld), alpha: p.alpha, add: ptx.Flag(p.add),
		u: p.u.Data.Addr(), l: p.l.Data.Addr(), r: int32(p.r), ldu: int32(p.u.Ld), ldl: int32(p.l.Ld),
	}})
}
