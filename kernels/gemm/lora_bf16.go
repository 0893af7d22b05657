package gemm

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

// RunLoRABF16 is a linear layer with its low-rank branch in one product:
//
//	C = A op(B) + U op(L) + beta C
//
// A and B as for RunBF16 (k steps), U and L another r steps in the same layout, summed
// after them by the same accumulators: C is written once. NT is the forward pass,
// y[m,n] = x[m,k] W[n,k]ᵀ + u[m,r] L[n,r]ᵀ with L = lora_B; NN the backward one,
// dx[m,n] = dy[m,k] W[k,n] + v[m,r] L[r,n] with L = lora_A. The branch's scale is in U.
//
// r is any number from 0 on; rows of all four begin on 16 bytes (ldu and ldl are
// multiples of 8 elements: pad the rows of U and, for NT, of L to 8; what the padding
// holds is not read into a sum).
func RunLoRABF16(dev driver.Device, tr Transpose, m, n, k, r int, a driver.Slice[driver.BF16], lda int, b driver.Slice[driver.BF16], ldb int, u driver.Slice[driver.BF16], ldu int, l driver.Slice[driver.BF16], ldl int, beta float32, c driver.F32, ldc int) {
	if tr == TN {
		panic(loraTN)
	}
	check(tr, m, n, k, a.Len(), lda, b.Len(), ldb, beta, c.Len(), ldc)
	check(tr, m, n, r, u.Len(), ldu, l.Len(), ldl, beta, c.Len(), ldc)
	if (a.Addr()|b.Addr()|u.Addr()|l.Addr())%16 != 0 || (lda|ldb|ldu|ldl)%8 != 0 {
		panic(unalignedBF16)
	}
	switch d := dev.(type) {
	case *cpu.Device:
		p := newProblem(tr, m, n, k, 1, widen(a.Host()), lda, widen(b.Host()), ldb, beta, c.Host(), ldc)
		p.run(d)
		p = newProblem(tr, m, n, r, 1, widen(u.Host()), ldu, widen(l.Host()), ldl, 1, c.Host(), ldc)
		p.run(d)
	case driver.Launcher:
		p := bf16Problem{
			tr: tr, m: m, n: n, k: k, r: r, alpha: 1, a: a.Addr(), lda: lda, b: b.Addr(), ldb: ldb,
			u: u.Addr(), ldu: ldu, l: l.Addr(), ldl: ldl, add: beta == 1, c: c.Addr(), ldc: ldc,
		}
		p.run(d)
	default:
		panic(fmt.Sprintf("gemm: no kernel for a %v device", dev.Kind()))
	}
}
