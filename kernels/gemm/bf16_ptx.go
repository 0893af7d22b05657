package gemm

import (
	_ "embed"
	"encoding/binary"
	"math"

	"dataflex/driver"
	"dataflex/kernels/ptx"
)

//go:embed bf16.sm80.ptx
var bf16SM80 string

var bf16Family = ptx.New("gemm, bf16", bf16SM80)

var bf16Kernels = [...]string{NN: "gemm_bf16_nn", NT: "gemm_bf16_nt", TN: "gemm_bf16_tn"}

func runBF16PTX(dev driver.Launcher, tr Transpose, m, n, k int, alpha float32, a driver.Slice[driver.BF16], lda int, b driver.Slice[driver.BF16], ldb int, beta float32, c driver.F32, ldc int) {
	if m == 0 || n == 0 {
		return
	}
	q := ptx.On(dev)
	var s [56]byte // struct problem of bf16.cu
	for i, v := range [...]uintptr{a.Addr(), b.Addr(), c.Addr()} {
		binary.LittleEndian.PutUint64(s[8*i:], uint64(v))
	}
	for i, v := range [...]int{m, n, k, lda, ldb, ldc} {
		binary.LittleEndian.PutUint32(s[24+4*i:], uint32(v))
	}
	binary.LittleEndian.PutUint32(s[48:], math.Float32bits(alpha))
	s[52] = byte(beta)
	q.Launch(bf16Family, bf16Kernels[tr], ptx.Grid2(ptx.Blocks(n, 128), ptx.Blocks(m, 128), 256), q.Args().Bytes(s[:], 8))
}
