package gemm

import (
	"fmt"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

// Programmer errors of RunBF16 beside those of Run.
const (
	unalignedBF16 = "gemm: rows of a bf16 matrix must begin on 16 bytes"
	loraTN        = "gemm: RunLoRABF16 of a TN product"
)

// RunBF16 is Run with A and B in bf16. Products are exact, sums float32; rows of A and
// B begin on 16 bytes: their addresses are multiples of 16 bytes, lda and ldb of 8
// elements. On the host the factors are widened and multiplied by Run.
func RunBF16(dev driver.Device, tr Transpose, m, n, k int, alpha float32, a driver.Slice[driver.BF16], lda int, b driver.Slice[driver.BF16], ldb int, beta float32, c driver.F32, ldc int) {
	check(tr, m, n, k, a.Len(), lda, b.Len(), ldb, beta, c.Len(), ldc)
	if (a.Addr()|b.Addr())%16 != 0 || (lda|ldb)%8 != 0 {
		panic(unalignedBF16)
	}
	switch d := dev.(type) {
	case *cpu.Device:
		p := newProblem(tr, m, n, k, alpha, widen(a.Host()), lda, widen(b.Host()), ldb, beta, c.Host(), ldc)
		p.run(d)
	case driver.Launcher:
		p := bf16Problem{tr: tr, m: m, n: n, k: k, alpha: alpha, a: a.Addr(), lda: lda, b: b.Addr(), ldb: ldb, add: beta == 1, c: c.Addr(), ldc: ldc}
		p.run(d)
	default:
		panic(fmt.Sprintf("gemm: no kernel for a %v device", dev.Kind()))
	}
}

func widen(x []driver.BF16) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = math.Float32frombits(uint32(v) << 16)
	}
	return y
}
