package reduce

import (
	_ "embed"
	"encoding/binary"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed reduce.sm80.ptx.br
var sm80 string

var family = ptx.New("reduce", sm80)

// Parameters of the kernels of reduce.cu.
type (
	inPlace struct { // reduce_fill, reduce_scale
		x uintptr
		n uint64
		a float32
	}
	axpyParameters struct {
		dst, x uintptr
		n      uint64
		a      float32
	}
	fold struct { // reduce_sum_squares_partial, reduce_finite
		x   uintptr
		n   uint64
		out uintptr
	}
	sumParameters struct {
		partial uintptr
		n       int32
		sum     uintptr
	}
)

var (
	inPlaces = ptx.Declare[inPlace](family, "reduce_fill", "reduce_scale")
	axpys    = ptx.Declare[axpyParameters](family, "reduce_axpy")
	folds    = ptx.Declare[fold](family, "reduce_sum_squares_partial", "reduce_finite")
	partials = ptx.Declare[sumParameters](family, "reduce_sum_partials")
)

// elementwise is the launch of a kernel whose threads process four elements each.
func elementwise(n int) driver.Config { return ptx.Grid(ptx.Blocks(n, 1024), 256) }

// sumsOfSquaresPTX writes the sums next to each other on the device; the partial sums of
// successive vectors use the same memory.
func sumsOfSquaresPTX(dev driver.Launcher, x []driver.F32, sums []float64) {
	blocks := 0
	for _, v := range x {
		blocks = max(blocks, ptx.Blocks(v.Len(), sumBlock))
	}
	if blocks == 0 {
		return
	}
	q := ptx.On(dev)
	partial := q.Scratch(0, 8*(blocks+len(x)))
	first := partial + uintptr(8*blocks)
	for i, v := range x {
		n := ptx.Blocks(v.Len(), sumBlock)
		folds.Launch(q, "reduce_sum_squares_partial", ptx.Grid(n, 256), &fold{v.Addr(), uint64(v.Len()), partial})
		partials.Launch(q, "reduce_sum_partials", ptx.Grid(1, 256), &sumParameters{partial, int32(n), first + uintptr(8*i)})
	}
	host := make([]byte, 8*len(x))
	q.Read(host, first)
	for i := range sums {
		sums[i] = math.Float64frombits(binary.LittleEndian.Uint64(host[8*i:]))
	}
}

func finitePTX(dev driver.Launcher, x driver.F32) bool {
	n := x.Len()
	q := ptx.On(dev)
	bad := q.Scratch(0, 4)
	inPlaces.Launch(q, "reduce_fill", elementwise(1), &inPlace{x: bad, n: 1, a: 0})
	folds.Launch(q, "reduce_finite", ptx.Grid(ptx.Blocks(n, sumBlock), 256), &fold{x.Addr(), uint64(n), bad})
	var b [4]byte
	q.Read(b[:], bad)
	return b == [4]byte{}
}

func axpyPTX(dev driver.Launcher, a float32, x, dst driver.F32) {
	axpys.Launch(ptx.On(dev), "reduce_axpy", elementwise(x.Len()), &axpyParameters{dst.Addr(), x.Addr(), uint64(x.Len()), a})
}

func scalePTX(dev driver.Launcher, a float32, x driver.F32) {
	inPlaces.Launch(ptx.On(dev), "reduce_scale", elementwise(x.Len()), &inPlace{x.Addr(), uint64(x.Len()), a})
}

func fillPTX(dev driver.Launcher, a float32, x driver.F32) {
	inPlaces.Launch(ptx.On(dev), "reduce_fill", elementwise(x.Len()), &inPlace{x.Addr(), uint64(x.Len()), a})
}
