package gemm

import "dataflex.dev/dataflex/kernels/simd"

//go:generate go run ./asm -set avx2 -out kernel_avx2_amd64.s -stubs kernel_avx2_amd64.go -pkg gemm
//go:generate go run ./asm -set avx512 -out kernel_avx512_amd64.s -stubs kernel_avx512_amd64.go -pkg gemm
//go:generate go run ./asm -set bf16 -out kernel_bf16_amd64.s -stubs kernel_bf16_amd64.go -pkg gemm

// kernel computes one tile of C in registers, k > 0 steps:
//
//	c[i*ldc+j] = alpha * sum over p of a[i*rsa+p*csa] * b[p*rsb+j]   (+ c if add)
//
// rsa, csa, rsb and ldc are in bytes. The sum runs over p upwards, one fused
// multiply-add (portable: multiply, then add) at a time, whatever the tile. The kernels of
// AVX-512 fetch 64 bytes from ahead on into the second-level cache in every fourth step.
type kernel func(k int, a *float32, rsa, csa uintptr, b *float32, rsb uintptr, c *float32, ldc uintptr, alpha float32, add bool, ahead *float32)

// tile is the kernels of one width; kernels[r-1] has r rows.
type tile struct {
	width   int
	kernels []kernel
}

// tileSet is an instruction set's tiles, widest first.
type tileSet []tile

// tiles is the set for the level in use.
func tiles() tileSet {
	if s := vectorTiles(simd.Level()); s != nil {
		return s
	}
	return portableTiles
}

// width is the number of columns of a panel.
func (s tileSet) width() int { return s[0].width }

// rows is the height of the tallest tile of full width; the narrower ones are at
// least as tall.
func (s tileSet) rows() int { return len(s[0].kernels) }

// fit is the narrowest tile that holds that many columns.
func (s tileSet) fit(columns int) *tile {
	i := len(s) - 1
	for s[i].width < columns {
		i--
	}
	return &s[i]
}

var portableTiles = tileSet{{4, []kernel{portable1, portable2}}}
