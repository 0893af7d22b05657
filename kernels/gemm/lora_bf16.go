package gemm

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
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
// r is any number from 0 on; rows of all four begin on 16 bytes (Ld is a
// multiple of 8 elements: pad the rows of U and, for NT, of L to 8; what the padding
// holds is not read into a sum).
func RunLoRABF16(dev driver.Device, tr Transpose, a, b, u, l BF16, beta float32, c F32) {
	if tr == TN {
		panic(loraTN)
	}
	k, r := depth(tr, a, b, beta, c), depth(tr, u, l, beta, c)
	if (a.Data.Addr()|b.Data.Addr()|u.Data.Addr()|l.Data.Addr())%16 != 0 || (a.Ld|b.Ld|u.Ld|l.Ld)%8 != 0 {
		panic(unalignedBF16)
	}
	dispatch.Run(dev, "gemm.RunLoRABF16", func(d *cpu.Device) {
		runBF16CPU(d, tr, 1, k, r, a, b, u, l, nil, beta, c)
	}, func(d driver.Launcher) {
		p := bf16Problem{tr: tr, k: k, r: r, alpha: 1, a: a, b: b, u: u, l: l, add: beta == 1, c: c}
		p.run(d)
	})
}
