package lora

import (
	"dataflex/driver"
	"dataflex/driver/cpu"
	"dataflex/kernels/gemm"
)

func forwardCPU(c *cpu.Device, x, a, b driver.F32, scale float32, u, y driver.F32, t, in, out, r int) {
	gemm.Run(c, gemm.NT, t, r, in, 1, x, in, a, in, 0, u, r)
	gemm.Run(c, gemm.NT, t, out, r, scale, u, r, b, r, 1, y, out)
}

func backwardCPU(c *cpu.Device, dy, x, a, b, u driver.F32, scale float32, v, dx, dA, dB driver.F32, t, in, out, r int) {
	gemm.Run(c, gemm.NN, t, r, out, scale, dy, out, b, r, 0, v, r)
	if !dx.IsNil() {
		gemm.Run(c, gemm.NN, t, in, r, 1, v, r, a, in, 1, dx, in)
	}
	if !dA.IsNil() {
		gemm.Run(c, gemm.TN, r, in, t, 1, v, r, x, in, 1, dA, in)
		gemm.Run(c, gemm.TN, out, r, t, scale, dy, out, u, r, 1, dB, r)
	}
}
