package quant

import (
	"maps"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
)

// Tiles are the sizes of tiles of float32 products on a device.
func Tiles() [][2]int {
	return slices.SortedFunc(maps.Keys(productKernels), func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
}

// MultiplyTiles is Multiply on a device in tiles of that size.
func (w *Matrix) MultiplyTiles(dev driver.Launcher, size [2]int, tr gemm.Transpose, alpha float32, a gemm.F32, beta float32, c gemm.F32) {
	w.multiplyTiles(dev, size[0], size[1], tr, alpha, a, beta, c)
}

// SetMaxBand limits bands to that many bytes, until undo.
func SetMaxBand(bytes int) (undo func()) {
	was := maxBand
	maxBand = bytes
	return func() { maxBand = was }
}
