// Package reduce implements sums over a whole float32 vector and the level-1 operations of
// the training loop.
//
// Sums run over fixed blocks of 4096 elements in float64, and the blocks' sums are added in
// a fixed binary tree: the bits are the same for every number of threads. Elementwise
// operations are independent per element.
package reduce

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// SumSquares returns Σ x².
func SumSquares(dev driver.Device, x driver.F32) float64 { return SumsOfSquares(dev, x)[0] }

// SumsOfSquares returns SumSquares of each of x, with the same bits, and waits for a device
// only once.
func SumsOfSquares(dev driver.Device, x ...driver.F32) []float64 {
	sums := make([]float64, len(x))
	dispatch.Run(dev, "reduce.SumsOfSquares", func(c *cpu.Device) {
		for i, v := range x {
			sums[i] = sumSquaresCPU(c, v.Host())
		}
	}, func(c driver.Launcher) { sumsOfSquaresPTX(c, x, sums) })
	return sums
}

// Finite reports whether no element is NaN or Inf.
func Finite(dev driver.Device, x driver.F32) (finite bool) {
	dispatch.Run(dev, "reduce.Finite", func(c *cpu.Device) { finite = finiteCPU(c, x.Host()) }, func(c driver.Launcher) { finite = finitePTX(c, x) })
	return finite
}

// Add is dst += x.
func Add(dev driver.Device, dst, x driver.F32) {
	if dst.Len() != x.Len() {
		panic("reduce: dst and x differ in length")
	}
	dispatch.Run(dev, "reduce.Add", func(c *cpu.Device) {
		addCPU(c, dst.Host(), x.Host())
	}, func(c driver.Launcher) {
		axpyPTX(c, 1, x, dst)
	})
}

// Axpy is dst += a·x.
func Axpy(dev driver.Device, a float32, x, dst driver.F32) {
	if dst.Len() != x.Len() {
		panic("reduce: dst and x differ in length")
	}
	dispatch.Run(dev, "reduce.Axpy", func(c *cpu.Device) {
		axpyCPU(c, a, x.Host(), dst.Host())
	}, func(c driver.Launcher) {
		axpyPTX(c, a, x, dst)
	})
}

// Scale is x *= a.
func Scale(dev driver.Device, a float32, x driver.F32) {
	dispatch.Run(dev, "reduce.Scale", func(c *cpu.Device) {
		scaleCPU(c, a, x.Host())
	}, func(c driver.Launcher) {
		scalePTX(c, a, x)
	})
}

// Fill is x = a.
func Fill(dev driver.Device, a float32, x driver.F32) {
	dispatch.Run(dev, "reduce.Fill", func(c *cpu.Device) {
		fillCPU(c, a, x.Host())
	}, func(c driver.Launcher) {
		fillPTX(c, a, x)
	})
}

// Clear is x = 0 for each of x. A device takes a launch for 128 of them.
func Clear(dev driver.Device, x ...driver.F32) {
	dispatch.Run(dev, "reduce.Clear", func(c *cpu.Device) {
		for _, v := range x {
			fillCPU(c, 0, v.Host())
		}
	}, func(c driver.Launcher) { clearPTX(c, x) })
}
