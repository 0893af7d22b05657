package lora

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
)

// On a device the branch is its products, in gemm's tiles for ranks: x and y are read
// once each, u and v stay in the second-level cache.
//
// v1  products one after the other, in float32. In bf16 gemm.RunLoRABF16 is the base
// layer's product and the branch's in one, which saves reading and writing y.

func forwardPTX(dev driver.Launcher, x, a, b driver.F32, scale float32, u, y driver.F32, t, in, out, r int) {
	gemm.Run(dev, gemm.NT, t, r, in, 1, x, in, a, in, 0, u, r)
	gemm.Run(dev, gemm.NT, t, out, r, scale, u, r, b, r, 1, y, out)
}

func backwardPTX(dev driver.Launcher, dy, x, a, b, u driver.F32, scale float32, v, dx, dA, dB driver.F32, t, in, out, r int) {
	gemm.Run(dev, gemm.NN, t, r, out, scale, dy, out, b, r, 0, v, r)
	if !dx.IsNil() {
		gemm.Run(dev, gemm.NN, t, in, r, 1, v, r, a, in, 1, dx, in)
	}
	if !dA.IsNil() {
		gemm.Run(dev, gemm.TN, r, in, t, 1, v, r, x, in, 1, dA, in)
		gemm.Run(dev, gemm.TN, out, r, t, scale, dy, out, u, r, 1, dB, r)
	}
}
