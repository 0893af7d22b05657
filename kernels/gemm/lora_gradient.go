package gemm

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// badParts is a panic of AddLoRAGradients.
const badParts = "gemm: parts end at ascending rows, the last at the number of rows"

// LoRAGradient is a gradient of an adapter's matrix, C[m,n] += Aᵀ B with A [rows, m] and B
// [rows, n], whose rows are tokens: for dA A is v and B the layer's input, for dB A is the
// gradient of the output and B is u.
type LoRAGradient struct {
	A, B BF16 // rows begin on 16 bytes
	C    F32
}

// AddLoRAGradients adds to several gradients over the same rows. Parts of the rows, which end at
// ascending ends, are summed by themselves and added to C one after the other: the bits are those
// of a call for each part. The order of a part's sum depends on its length alone.
//
// Products of two bf16 numbers are exact in float32, in which they are summed. C overlaps no
// operand and no other C.
func AddLoRAGradients(dev driver.Device, ends []int, list []LoRAGradient) {
	for _, x := range list {
		rows := depth(TN, x.A, x.B, 1, x.C)
		if (x.A.Data.Addr()|x.B.Data.Addr())%16 != 0 || (x.A.Ld|x.B.Ld)%8 != 0 {
			panic(unalignedBF16)
		}
		from := 0
		for _, end := range ends {
			if end < from {
				panic(badParts)
			}
			from = end
		}
		if from != rows {
			panic(badParts)
		}
	}
	dispatch.Run(dev, "gemm.AddLoRAGradients", func(c *cpu.Device) {
		from := 0
		for _, end := range ends {
			for _, x := range list {
				runBF16CPU(c, TN, 1, end-from, 0, x.A.Sub(from, end), x.B.Sub(from, end), BF16{}, BF16{}, nil, 1, x.C)
			}
			from = end
		}
	}, func(c driver.Launcher) { addLoRAGradientsPTX(c, ends, list) })
}

// thin reports whether the kernels for small ranks compute the gradient.
func (x *LoRAGradient) thin() bool { return min(x.C.Rows, x.C.Cols) <= maxThin }
