package autograd

import (
	"fmt"

	"dataflex/driver"
	"dataflex/driver/cpu"
	"dataflex/kernels/gradproj"
)

// maskKey numbers the masks of a pass: a seed and an adapter. Entry (row, column)
// of a mask is a function of key, row and column alone, so the backward pass draws
// the forward pass's mask again, on any device and any number of threads.
type maskKey struct {
	seed uint64
	pair uint32
}

func (t *Tape) maskKey(l *LoRA) maskKey { return maskKey{t.mode.DropoutSeed, uint32(l.Pair)} }

// dropout sets (or, with add, increases) dst[i] to src[i]/(1-p) where the mask
// keeps entry i, and to 0 elsewhere. src and dst are [rows, cols].
func dropout(dev driver.Device, key maskKey, p float32, rows, cols int, src, dst driver.F32, add bool) {
	d, ok := dev.(*cpu.Device)
	if !ok {
		panic(fmt.Sprintf("autograd: dropout has no kernel for %s", dev.Kind()))
	}
	s, o := src.Host(), dst.Host()
	threshold, scale := uint32(float64(p)*(1<<32)), 1/(1-p)
	d.Parallel(rows, func(r int) {
		from, to := s[r*cols:(r+1)*cols], o[r*cols:(r+1)*cols]
		for c := 0; c < cols; c += 4 {
			random := gradproj.Philox([4]uint32{uint32(c / 4), uint32(r), key.pair, 0}, [2]uint32{uint32(key.seed), uint32(key.seed >> 32)})
			for i := c; i < min(c+4, cols); i++ {
				var x float32
				if random[i-c] >= threshold {
					x = from[i] * scale
				}
				if add {
					x += to[i]
				}
				to[i] = x
			}
		}
	})
}
