package xent

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/gemm"
)

// Programmer errors of RunBF16, in addition to those of Run.
const unalignedBF16 = "xent: rows of h and w in bf16 must begin on 16 bytes"

// RunBF16 is Run with h and w in bf16; rows of both are 16-byte aligned, so Hidden is a
// multiple of 8. On a GPU logits, losses and sums are float32, the logits' gradients are
// rounded to bf16 before they are multiplied: first exp(z) relative to the largest of a few
// hundred neighbours, then dz. On the host only dz is rounded.
func RunBF16(dev driver.Device, p Params, h, w driver.Slice[driver.BF16], targets []int32, weight, loss, dh, dw driver.F32) {
	p.check(h.Len(), w.Len(), targets, weight, loss, dh, dw)
	p.checkAligned(h, w)
	dispatch.Run(dev, "xent.RunBF16", func(c *cpu.Device) {
		runBF16CPU(c, p, h.Host(), w, targets, weight.Host(), loss.Host(), dh, dw)
	}, func(c driver.Launcher) {
		runBF16PTX(c, p, h, w, targets, weight, loss, dh, dw)
	})
}

// LogitsBF16 is Logits with h and w in bf16, whose rows are 16-byte aligned.
func LogitsBF16(dev driver.Device, p Params, h, w driver.Slice[driver.BF16], z driver.F32) {
	p.checkLogits(h.Len(), w.Len(), z)
	p.checkAligned(h, w)
	dispatch.Run(dev, "xent.LogitsBF16", func(c *cpu.Device) {
		logitsBF16CPU(c, p, h, w, z)
	}, func(c driver.Launcher) {
		gemm.RunBF16(c, gemm.NT, p.scale(), gemm.Dense(h, p.Rows, p.Hidden), gemm.Dense(w, p.Vocab, p.Hidden), 0, gemm.Dense(z, p.Rows, p.Vocab))
		p.capPTX(c, z)
	})
}

func (p Params) checkAligned(h, w driver.Slice[driver.BF16]) {
	if (h.Addr()|w.Addr())%16 != 0 || p.Hidden%8 != 0 {
		panic(unalignedBF16)
	}
	if !p.Bias.IsNil() {
		panic("xent: a Bias in bf16")
	}
}
