// Package peak measures the ceilings with which all other kernels are compared: how fast a
// device moves memory, multiplies and adds, and multiplies matrices, with nothing else to
// do. The operations are simple enough to be checked, so that a ceiling is never that of
// skipped work.
package peak

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// The tile of Products.
const (
	M = 64
	N = 256
	K = 64
)

// Programmer errors.
const (
	badCopy     = "peak: src and dst differ in length"
	badMultiply = "peak: x and y differ in length"
	badProducts = "peak: a is not [M, K], b not [N, K] or c not some [M, N]"
)

// Copy is dst = src: 8 bytes of traffic per float.
func Copy(dev driver.Device, src, dst driver.F32) {
	if src.Len() != dst.Len() {
		panic(badCopy)
	}
	dispatch.Run(dev, "peak.Copy", func(d *cpu.Device) {
		copyCPU(d, src.Host(), dst.Host())
	}, func(d driver.Launcher) {
		copyPTX(d, src, dst)
	})
}

// Multiply is y = y/2 + x, `steps` times, rounded after each: 2·steps operations per float,
// in registers. The bits are the same on every device.
func Multiply(dev driver.Device, x, y driver.F32, steps int) {
	if x.Len() != y.Len() {
		panic(badMultiply)
	}
	dispatch.Run(dev, "peak.Multiply", func(d *cpu.Device) {
		multiplyCPU(d, x.Host(), y.Host(), steps)
	}, func(d driver.Launcher) {
		multiplyPTX(d, x, y, steps)
	})
}

// Products overwrites each of the c.Len()/(M·N) tiles of c with a bᵀ, added up `steps` times
// in float32: 2·M·N·K·steps operations per tile. a [M, K] and b [N, K] are bf16 and stay in
// registers or shared memory.
func Products(dev driver.Device, a, b driver.Slice[driver.BF16], c driver.F32, steps int) {
	if a.Len() != M*K || b.Len() != N*K || c.Len()%(M*N) != 0 {
		panic(badProducts)
	}
	dispatch.Run(dev, "peak.Products", func(d *cpu.Device) {
		productsCPU(d, a.Host(), b.Host(), c.Host(), steps)
	}, func(d driver.Launcher) {
		productsPTX(d, a, b, c, steps)
	})
}

// Tiles and Floats are the numbers of tiles of Products, and of floats of Multiply, that
// occupy a device several times over.
func Tiles(dev driver.Device) int { return 8 * max(1, dev.Attributes().Units) }

// Floats: see Tiles.
func Floats(dev driver.Device) int { return 4 * 2048 * 8 * max(1, dev.Attributes().Units) }
