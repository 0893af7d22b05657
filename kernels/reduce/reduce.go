// Package reduce holds sums over a whole float32 vector and the level-1
// operations of the training loop.
//
// Sums run over fixed blocks of 4096 elements in float64, and the blocks' sums
// are added in a fixed binary tree: the bits are the same for every number of
// threads. Elementwise operations stand alone per element.
package reduce

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

// SumSquares returns Σ x².
func SumSquares(dev driver.Device, x driver.F32) float64 { return SumsOfSquares(dev, x)[0] }

// SumsOfSquares returns SumSquares of each of x, to the same bits, and waits for a device
// once.
func SumsOfSquares(dev driver.Device, x ...driver.F32) []float64 {
	switch c := dev.(type) {
	case *cpu.Device:
		sums := make([]float64, len(x))
		for i, v := range x {
			sums[i] = sumSquaresCPU(c, v.Host())
		}
		return sums
	case driver.Launcher:
		return sumsOfSquaresPTX(c, x)
	default:
		panic("reduce.SumsOfSquares: no kernel for " + dev.Kind().String())
	}
}

// Finite reports whether no element is NaN or infinite.
func Finite(dev driver.Device, x driver.F32) bool {
	switch c := dev.(type) {
	case *cpu.Device:
		return finiteCPU(c, x.Host())
	case driver.Launcher:
		return finitePTX(c, x)
	default:
		panic("reduce.Finite: no kernel for " + dev.Kind().String())
	}
}

// Add is dst += x.
func Add(dev driver.Device, dst, x driver.F32) {
	if dst.Len() != x.Len() {
		panic("reduce: dst and x differ in length")
	}
	switch c := dev.(type) {
	case *cpu.Device:
		addCPU(c, dst.Host(), x.Host())
	case driver.Launcher:
		axpyPTX(c, 1, x, dst)
	default:
		panic("reduce.Add: no kernel for " + dev.Kind().String())
	}
}

// Axpy is dst += a·x.
func Axpy(dev driver.Device, a float32, x, dst driver.F32) {
	if dst.Len() != x.Len() {
		panic("reduce: dst and x differ in length")
	}
	switch c := dev.(type) {
	case *cpu.Device:
		axpyCPU(c, a, x.Host(), dst.Host())
	case driver.Launcher:
		axpyPTX(c, a, x, dst)
	default:
		panic("reduce.Axpy: no kernel for " + dev.Kind().String())
	}
}

// Scale is x *= a.
func Scale(dev driver.Device, a float32, x driver.F32) {
	switch c := dev.(type) {
	case *cpu.Device:
		scaleCPU(c, a, x.Host())
	case driver.Launcher:
		scalePTX(c, a, x)
	default:
		panic("reduce.Scale: no kernel for " + dev.Kind().String())
	}
}

// Fill is x = a.
func Fill(dev driver.Device, a float32, x driver.F32) {
	switch c := dev.(type) {
	case *cpu.Device:
		fillCPU(c, a, x.Host())
	case driver.Launcher:
		fillPTX(c, a, x)
	default:
		panic("reduce.Fill: no kernel for " + dev.Kind().String())
	}
}
