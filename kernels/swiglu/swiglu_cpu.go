package swiglu

import (
	"dataflex/driver/cpu"
	"dataflex/kernels/simd"
)

const (
	block = 4096 // elements a task takes
	piece = 512  // elements whose intermediate values stay in the first-level cache
)

func forwardCPU(c *cpu.Device, gate, up, out []float32) {
	n := len(gate)
	c.Parallel((n+block-1)/block, func(b int) {
		var s [piece]float32
		for lo := b * block; lo < min(n, (b+1)*block); lo += piece {
			hi := min(n, lo+piece)
			simd.Silu(s[:hi-lo], gate[lo:hi])
			simd.Mul(out[lo:hi], s[:hi-lo], up[lo:hi])
		}
	})
}

func backwardCPU(c *cpu.Device, dout, gate, up, dgate, dup []float32) {
	n := len(gate)
	c.Parallel((n+block-1)/block, func(b int) {
		var sigmoid [piece]float32
		for lo := b * block; lo < min(n, (b+1)*block); lo += piece {
			hi := min(n, lo+piece)
			s := sigmoid[:hi-lo]
			simd.Sigmoid(s, gate[lo:hi])
			backwardPiece(s, dout[lo:hi], gate[lo:hi], up[lo:hi], dgate[lo:hi], dup[lo:hi])
		}
	})
}

func backwardPiece(sigmoid, dout, gate, up, dgate, dup []float32) {
	n := len(sigmoid)
	dout, gate, up, dgate, dup = dout[:n], gate[:n], up[:n], dgate[:n], dup[:n]
	for i, s := range sigmoid {
		g, d := gate[i], dout[i]
		ds := d * s
		dgate[i], dup[i] = ds*up[i]*(1+g*(1-s)), ds*g
	}
}
