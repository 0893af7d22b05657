// Package dropout masks matrices and adds noise to them with counter-based random numbers:
// the entry at (row, column) is a function of key, row and column only, on any device and
// any number of threads. A backward pass computes the forward pass's mask again.
//
// Eight adjacent entries share the 128 bits of Philox4x32-10 (see package philox) for the
// counter (column/8, row, Stream, 0) under the key Seed: 16 bits each, low half of a word
// first.
//
// Measured on one core of an AMD EPYC (Zen 3, shared with other work, 2026-11-24), a
// mask on 512 × 1536: portable 3.7 ms, AVX2 0.57 ms.
package dropout

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Key identifies the matrices of a pass: a seed and a stream.
type Key struct {
	Seed   uint64
	Stream uint32
}

// Mask sets dst[i] to src[i]/(1-p) where the mask keeps entry i, and to 0 elsewhere; with
// add it adds that to dst instead. src and dst are float32 [rows, cols]; dst may be src
// without add. p in [0, 1) is rounded to a multiple of 2^-16.
func Mask(dev driver.Device, key Key, p float32, rows, cols int, src, dst driver.F32, add bool) {
	if src.Len() != rows*cols || dst.Len() != src.Len() {
		panic("dropout: src or dst is not [rows, cols]")
	}
	if !(p >= 0 && p < 1) {
		panic("dropout: p outside [0, 1)")
	}
	threshold := uint32(math.Round(float64(p) * (1 << 16)))
	m := mask{key: key, threshold: min(threshold, 1<<16-1), add: add}
	m.scale = float32((1 << 16) / float64((1<<16)-m.threshold))
	dispatch.Run(dev, "dropout.Mask", func(c *cpu.Device) {
		maskCPU(c, m, rows, cols, src.Host(), dst.Host())
	}, func(c driver.Launcher) {
		maskPTX(c, m, rows, cols, src, dst)
	})
}

// Noise adds to x, float32 [rows, cols], numbers that are uniform on the 2^16 points from
// -magnitude to magnitude (NEFTune, arXiv:2310.05914).
func Noise(dev driver.Device, key Key, magnitude float32, rows, cols int, x driver.F32) {
	if x.Len() != rows*cols {
		panic("dropout: x is not [rows, cols]")
	}
	dispatch.Run(dev, "dropout.Noise", func(c *cpu.Device) {
		noiseCPU(c, key, magnitude, rows, cols, x.Host())
	}, func(c driver.Launcher) {
		noisePTX(c, key, magnitude, rows, cols, x)
	})
}

// mask has the parameters of a mask.
type mask struct {
	key       Key
	threshold uint32 // an entry is kept if its 16 bits are not below it
	scale     float32
	add       bool
}
