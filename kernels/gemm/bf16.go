package gemm

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Programmer errors of RunBF16 beside those of Run.
const (
	unalignedBF16 = "gemm: rows of a bf16 matrix must begin on 16 bytes"
	loraTN        = "gemm: RunLoRABF16 of a TN product"
)

// RunBF16 is Run with A and B in bf16. Products are exact, sums float32; rows of A and
// B begin on 16 bytes: their addresses are multiples of 16 bytes, their Ld of 8
// elements. On the host AMX or AVX512-BF16 multiplies, which take denormal numbers for zero;
// where the processor has neither the factors are widened and multiplied as by Run.
func RunBF16(dev driver.Device, tr Transpose, alpha float32, a, b BF16, beta float32, c F32) {
	k := depth(tr, a, b, beta, c)
	if (a.Data.Addr()|b.Data.Addr())%16 != 0 || (a.Ld|b.Ld)%8 != 0 {
		panic(unalignedBF16)
	}
	dispatch.Run(dev, "gemm.RunBF16", func(d *cpu.Device) {
		runBF16CPU(d, tr, alpha, k, 0, a, b, BF16{}, BF16{}, nil, beta, c)
	}, func(d driver.Launcher) {
		p := bf16Problem{tr: tr, k: k, alpha: alpha, a: a, b: b, add: beta == 1, c: c}
		p.run(d)
	})
}
