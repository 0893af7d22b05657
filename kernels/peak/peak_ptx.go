package peak

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed peak.sm80.ptx
var sm80 string

//go:embed peak.sm90a.ptx
var sm90a string

var family, hopper = ptx.New("peak", sm80), ptx.New("peak sm_90a", sm90a)

func copyPTX(dev driver.Launcher, src, dst driver.F32) {
	q := ptx.On(dev)
	q.Launch(family, "peak_copy", ptx.Grid(ptx.Blocks(src.Len(), 4096), 256), q.Args().
		Addr(src.Addr()).Addr(dst.Addr()).U64(uint64(src.Len())))
}

func multiplyPTX(dev driver.Launcher, x, y driver.F32, steps int) {
	q := ptx.On(dev)
	q.Launch(family, "peak_multiply", ptx.Grid(ptx.Blocks(x.Len(), 2048), 256), q.Args().
		Addr(x.Addr()).Addr(y.Addr()).U64(uint64(x.Len())).I32(int32(steps)))
}

func productsPTX(dev driver.Launcher, a, b driver.Slice[driver.BF16], c driver.F32, steps int) {
	q := ptx.On(dev)
	f, threads := family, 256
	if ptx.Hopper(dev) {
		f, threads = hopper, 128
	}
	q.Launch(f, "peak_products", ptx.Grid(c.Len()/(M*N), threads), q.Args().
		Addr(a.Addr()).Addr(b.Addr()).Addr(c.Addr()).I32(int32(steps)))
}
