package autograd

import (
	"fmt"
	"math"
	"math/bits"

	"dataflex/driver"
	"dataflex/driver/cpu"
)

// maskKey numbers the masks of a pass: a seed and an adapter. Entry (row, column)
// of a mask is a function of key, row and column alone, so the backward pass draws
// the forward pass's mask again, on any device and any number of threads: it is 16
// of the bits of Philox4x32-10 (see gradproj.Philox) of (column/8, row, adapter, 0).
type maskKey struct {
	seed uint64
	pair uint32
}

func (t *Tape) maskKey(l *LoRA) maskKey { return maskKey{t.mode.DropoutSeed, uint32(l.Pair)} }

// dropout sets (or, with add, increases) dst[i] to src[i]/(1-p) where the mask
// keeps entry i, and to 0 (by nothing) elsewhere. src and dst are [rows, cols].
// p is rounded to a multiple of 2^-16.
func dropout(dev driver.Device, key maskKey, p float32, rows, cols int, src, dst driver.F32, add bool) {
	d, ok := dev.(*cpu.Device)
	if !ok {
		panic(fmt.Sprintf("autograd: dropout has no kernel for %s", dev.Kind()))
	}
	s, o := src.Host(), dst.Host()
	threshold := uint32(math.Round(float64(p) * (1 << 16)))
	scale := float32((1 << 16) / float64((1<<16)-threshold))
	d.Parallel(rows, func(r int) {
		dropoutRow(key, uint32(r), threshold, scale, s[r*cols:(r+1)*cols], o[r*cols:(r+1)*cols], add)
	})
}

func dropoutRow(key maskKey, row, threshold uint32, scale float32, src, dst []float32, add bool) {
	var block [8]float32
	for c := 0; c < len(src); c += 8 {
		from, to := src[c:min(c+8, len(src))], dst[c:min(c+8, len(dst))]
		masked := block[:len(from)]
		w0, w1, w2, w3 := philox(uint32(c/8), row, key.pair, uint32(key.seed), uint32(key.seed>>32))
		random := [4]uint32{w0, w1, w2, w3}
		for i, x := range from {
			// All ones where the entry is kept: no branch to mispredict.
			keep := uint32(int32(threshold-1-random[i/2]>>(16*(i%2))&0xffff) >> 31)
			masked[i] = math.Float32frombits(math.Float32bits(x*scale) & keep)
		}
		if add {
			for i, x := range masked {
				to[i] += x
			}
		} else {
			copy(to, masked)
		}
	}
}

// philox is gradproj.Philox of (c0, c1, c2, 0), kept in registers.
func philox(c0, c1, c2, k0, k1 uint32) (uint32, uint32, uint32, uint32) {
	var c3 uint32
	for range 10 {
		h0, l0 := bits.Mul32(0xD2511F53, c0)
		h1, l1 := bits.Mul32(0xCD9E8D57, c2)
		c0, c1, c2, c3 = h1^c1^k0, l1, h0^c3^k1, l0
		k0 += 0x9E3779B9
		k1 += 0xBB67AE85
	}
	return c0, c1, c2, c3
}
