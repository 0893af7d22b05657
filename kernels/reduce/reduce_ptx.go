package reduce

import (
	_ "embed"
	"encoding/binary"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed reduce.sm80.ptx
var sm80 string

var family = ptx.New("reduce", sm80)

// elementwise is the launch of a kernel whose threads own four elements.
func elementwise(n int) driver.Config { return ptx.Grid(ptx.Blocks(n, 1024), 256) }

// sumsOfSquaresPTX leaves the sums side by side; the partial sums of one vector after the
// other take the same memory.
func sumsOfSquaresPTX(dev driver.Launcher, x []driver.F32) []float64 {
	blocks := 0
	for _, v := range x {
		blocks = max(blocks, ptx.Blocks(v.Len(), sumBlock))
	}
	sums := make([]float64, len(x))
	if blocks == 0 {
		return sums
	}
	q := ptx.On(dev)
	partial := q.Scratch(0, 8*(blocks+len(x)))
	first := partial + uintptr(8*blocks)
	for i, v := range x {
		n := ptx.Blocks(v.Len(), sumBlock)
		q.Launch(family, "reduce_sum_squares_partial", ptx.Grid(n, 256), q.Args().Addr(v.Addr()).U64(uint64(v.Len())).Addr(partial))
		q.Launch(family, "reduce_sum_partials", ptx.Grid(1, 256), q.Args().Addr(partial).I32(int32(n)).Addr(first+uintptr(8*i)))
	}
	host := make([]byte, 8*len(x))
	q.Read(host, first)
	for i := range sums {
		sums[i] = math.Float64frombits(binary.LittleEndian.Uint64(host[8*i:]))
	}
	return sums
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
