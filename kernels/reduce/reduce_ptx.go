package reduce

import (
	_ "embed"
	"encoding/binary"
	"math"

	"dataflex/driver"
	"dataflex/kernels/ptx"
)

//go:embed reduce.sm80.ptx
var sm80 string

var family = ptx.New("reduce", sm80)

// elementwise is the launch of a kernel whose threads own four elements.
func elementwise(n int) driver.Config { return ptx.Grid(ptx.Blocks(n, 1024), 256) }

func sumSquaresPTX(dev driver.Launcher, x driver.F32) float64 {
	n := x.Len()
	if n == 0 {
		return 0
	}
	q := ptx.On(dev)
	blocks := ptx.Blocks(n, sumBlock)
	partial := q.Scratch(0, 8*(blocks+1))
	sum := partial + uintptr(8*blocks)
	q.Launch(family, "reduce_sum_squares_partial", ptx.Grid(blocks, 256), q.Args().Addr(x.Addr()).U64(uint64(n)).Addr(partial))
	q.Launch(family, "reduce_sum_partials", ptx.Grid(1, 256), q.Args().Addr(partial).I32(int32(blocks)).Addr(sum))
	var b [8]byte
	q.Read(b[:], sum)
	return math.Float64frombits(binary.LittleEndian.Uint64(b[:]))
}

func finitePTX(dev driver.Launcher, x driver.F32) bool {
	n := x.Len()
	q := ptx.On(dev)
	bad := q.Scratch(0, 4)
	q.Launch(family, "reduce_fill", elementwise(1), q.Args().Addr(bad).U64(1).F32(0))
	q.Launch(family, "reduce_finite", ptx.Grid(ptx.Blocks(n, sumBlock), 256), q.Args().Addr(x.Addr()).U64(uint64(n)).Addr(bad))
	var b [4]byte
	q.Read(b[:], bad)
	return b == [4]byte{}
}

func axpyPTX(dev driver.Launcher, a float32, x, dst driver.F32) {
	q := ptx.On(dev)
	q.Launch(family, "reduce_axpy", elementwise(x.Len()), q.Args().Addr(dst.Addr()).Addr(x.Addr()).U64(uint64(x.Len())).F32(a))
}

func scalePTX(dev driver.Launcher, a float32, x driver.F32) {
	q := ptx.On(dev)
	q.Launch(family, "reduce_scale", elementwise(x.Len()), q.Args().Addr(x.Addr()).U64(uint64(x.Len())).F32(a))
}

func fillPTX(dev driver.Launcher, a float32, x driver.F32) {
	q := ptx.On(dev)
	q.Launch(family, "reduce_fill", elementwise(x.Len()), q.Args().Addr(x.Addr()).U64(uint64(x.Len())).F32(a))
}
