package gemm

import (
	_ "embed"
	"encoding/binary"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed bf16.sm80.ptx
var bf16SM80 string

var bf16Family = ptx.New("gemm, bf16", bf16SM80)

var (
	bf16Kernels   = [...]string{NN: "gemm_bf16_nn", NT: "gemm_bf16_nt", TN: "gemm_bf16_tn"}
	branchKernels = [...]string{NN: "gemm_bf16_nn_branch", NT: "gemm_bf16_nt_branch"}
)

// bf16Problem is C = alpha (op(A) op(B) + U op(L)) + beta C on a device that runs PTX, over
// k and r steps.
type bf16Problem struct {
	tr                      Transpose
	m, n, k, r              int
	a, b, u, l, c           uintptr
	lda, ldb, ldu, ldl, ldc int
	alpha                   float32
	add                     bool
}

func (p *bf16Problem) run(dev driver.Launcher) {
	if p.m == 0 || p.n == 0 {
		return
	}
	if p.k == 0 { // the branch alone, which may be nothing
		p.a, p.lda, p.b, p.ldb, p.k, p.r = p.u, p.ldu, p.l, p.ldl, p.r, 0
	}
	if p.k > 0 && ptx.Hopper(dev) {
		p.runHopper(dev)
		return
	}
	kernel := bf16Kernels[p.tr]
	if p.r > 0 {
		kernel = branchKernels[p.tr]
	}
	var s [88]byte // struct problem of bf16.cu
	for i, v := range [...]uintptr{p.a, p.b, p.c} {
		binary.LittleEndian.PutUint64(s[8*i:], uint64(v))
	}
	for i, v := range [...]int{p.m, p.n, p.k, p.lda, p.ldb, p.ldc} {
		binary.LittleEndian.PutUint32(s[24+4*i:], uint32(v))
	}
	binary.LittleEndian.PutUint32(s[48:], math.Float32bits(p.alpha))
	if p.add {
		s[52] = 1
	}
	binary.LittleEndian.PutUint64(s[56:], uint64(p.u))
	binary.LittleEndian.PutUint64(s[64:], uint64(p.l))
	for i, v := range [...]int{p.r, p.ldu, p.ldl} {
		binary.LittleEndian.PutUint32(s[72+4*i:], uint32(v))
	}
	q := ptx.On(dev)
	q.Launch(bf16Family, kernel, ptx.Grid2(ptx.Blocks(p.n, 128), ptx.Blocks(p.m, 128), 256), q.Args().Bytes(s[:], 8))
}
