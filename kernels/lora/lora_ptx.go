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

func gradientPTX(dev driver.Launcher, w Branch, dy, x, u, v gemm.F32) {
	gemm.Run(dev, gemm.TN, 1, v, x, 1, w.DA)
	gemm.Run(dev, gemm.TN, w.Scale, dy, u, 1, w.DB)
}
