package dropout

import (
	"math"

	"dataflex.dev/dataflex/kernels/simd"
)

//go:generate go run ./asm -out row_avx2_amd64.s -stubs row_avx2_amd64.go -pkg dropout

const group = 32 // entries per iteration of the assembly

// row passes whole groups to the assembly, which has the bits of the portable loop.
func (m mask) row(row uint32, src, dst []float32) {
	whole := len(src) / group * group
	if simd.Level() == "generic" || whole == 0 {
		m.rowFrom(0, row, src, dst)
		return
	}
	args := [6]uint32{
		uint32(m.key.Seed), uint32(m.key.Seed >> 32), row, m.key.Stream,
		m.threshold - 1, // wraps to -1 for 0: everything is above
		math.Float32bits(m.scale),
	}
	if m.add {
		maskAddY(whole/group, &args[0], &src[0], &dst[0])
	} else {
		maskY(whole/group, &args[0], &src[0], &dst[0])
	}
	m.rowFrom(uint32(whole/8), row, src[whole:], dst[whole:])
}
