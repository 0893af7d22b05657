package peak

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed peak.sm80.ptx.br
var sm80 string

//go:embed peak.sm90a.ptx.br
var sm90a string

var family, hopper = ptx.New("peak", sm80), ptx.New("peak sm_90a", sm90a)

// Parameters of the kernels of peak.cu and peak.sm90a.cu.
type (
	copyParameters struct {
		src, dst uintptr
		n        uint64
	}
	multiplyParameters struct {
		x, y  uintptr
		n     uint64
		steps int32
	}
	productParameters struct {
		a, b, c uintptr
		steps   int32
	}
)

var (
	copies         = ptx.Declare[copyParameters](family, "peak_copy")
	multiplies     = ptx.Declare[multiplyParameters](family, "peak_multiply")
	products       = ptx.Declare[productParameters](family, "peak_products")
	hopperProducts = ptx.Declare[productParameters](hopper, "peak_products")
)

func copyPTX(dev driver.Launcher, src, dst driver.F32) {
	copies.Launch(ptx.On(dev), "peak_copy", ptx.Grid(ptx.Blocks(src.Len(), 4096), 256), &copyParameters{src.Addr(), dst.Addr(), uint64(src.Len())})
}

func multiplyPTX(dev driver.Launcher, x, y driver.F32, steps int) {
	multiplies.Launch(ptx.On(dev), "peak_multiply", ptx.Grid(ptx.Blocks(x.Len(), 2048), 256), &multiplyParameters{
		x: x.Addr(), y: y.Addr(), n: uint64(x.Len()), steps: int32(steps),
	})
}

func productsPTX(dev driver.Launcher, a, b driver.Slice[driver.BF16], c driver.F32, steps int) {
	kernels, threads := products, 256
	if ptx.Hopper(dev) {
		kernels, threads = hopperProducts, 128
	}
	kernels.Launch(ptx.On(dev), "peak_products", ptx.Grid(c.Len()/(M*N), threads), &productParameters{
		a: a.Addr(), b: b.Addr(), c: c.Addr(), steps: int32(steps),
	})
}
