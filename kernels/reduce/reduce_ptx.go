package reduce

import (
	_ "embed"
	"encoding/binary"
	"math"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed reduce.sm80.ptx.br
var sm80 string

var family = ptx.New("reduce", sm80)

const most = 128 // vectors of a launch, as in reduce.cu

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
	vectors struct {
		items [most]struct {
			x uintptr
			n uint64
		}
		first   [most]int32
		partial uintptr
	}
	vectorSums struct {
		first        [most + 1]int32
		partial, sum uintptr
	}
	finiteParameters struct {
		x   uintptr
		n   uint64
		bad uintptr
	}
)

var (
	inPlaces = ptx.Declare[inPlace](family, "reduce_fill", "reduce_scale")
	axpys    = ptx.Declare[axpyParameters](family, "reduce_axpy")
	lists    = ptx.Declare[ptx.One[vectors]](family, "reduce_sum_squares_partial", "reduce_clear")
	partials = ptx.Declare[ptx.One[vectorSums]](family, "reduce_sum_partials")
	finites  = ptx.Declare[finiteParameters](family, "reduce_finite")
)

// elementwise is the launch of a kernel whose threads process four elements each.
func elementwise(n int) driver.Config { return ptx.Grid(ptx.Blocks(n, 1024), 256) }

// sumsOfSquaresPTX writes the sums next to each other on the device, behind the partial sums.
func sumsOfSquaresPTX(dev driver.Launcher, x []driver.F32, sums []float64) {
	blocks, total := make([]int, len(x)), 0
	for i, v := range x {
		blocks[i] = ptx.Blocks(v.Len(), sumBlock)
		total += blocks[i]
	}
	if total == 0 {
		return
	}
	q := ptx.On(dev)
	partial := q.Scratch(0, 8*(total+len(x)))
	sumSquares(q, x, partial)
	addPartials(q, blocks, partial, sums)
}

// sumSquares queues the partial sums of the vectors, which come to lie behind one another.
func sumSquares(q *ptx.Queue, x []driver.F32, partial uintptr) {
	for part := range slices.Chunk(x, most) {
		p, blocks := listed(part)
		p.P.partial = partial
		lists.Launch(q, "reduce_sum_squares_partial", ptx.Grid(blocks, 256), &p)
		partial += uintptr(8 * blocks)
	}
}

func clearPTX(dev driver.Launcher, x []driver.F32) {
	q := ptx.On(dev)
	for part := range slices.Chunk(x, most) {
		p, blocks := listed(part)
		lists.Launch(q, "reduce_clear", ptx.Grid(blocks, 256), &p)
	}
}

// listed is a launch's list of at most that many vectors, and how many blocks they have.
func listed(x []driver.F32) (p ptx.One[vectors], blocks int) {
	for i := range p.P.first {
		if i >= len(x) {
			p.P.first[i] = math.MaxInt32
			continue
		}
		p.P.items[i].x, p.P.items[i].n, p.P.first[i] = x[i].Addr(), uint64(x[i].Len()), int32(blocks)
		blocks += ptx.Blocks(x[i].Len(), sumBlock)
	}
	return p, blocks
}

// addPartials reads the sums of so many partial sums each; there is room for them behind these.
func addPartials(q *ptx.Queue, counts []int, partial uintptr, sums []float64) {
	total := 0
	for _, n := range counts {
		total += n
	}
	result := partial + uintptr(8*total)
	at := result
	for part := range slices.Chunk(counts, most) {
		p := ptx.One[vectorSums]{P: vectorSums{partial: partial, sum: at}}
		for i, n := range part {
			p.P.first[i+1] = p.P.first[i] + int32(n)
		}
		partials.Launch(q, "reduce_sum_partials", ptx.Grid(len(part), 256), &p)
		partial, at = partial+uintptr(8*p.P.first[len(part)]), at+uintptr(8*len(part))
	}
	host := make([]byte, 8*len(sums))
	q.Read(host, result)
	for i := range sums {
		sums[i] = math.Float64frombits(binary.LittleEndian.Uint64(host[8*i:]))
	}
}

func finitePTX(dev driver.Launcher, x driver.F32) bool {
	n := x.Len()
	q := ptx.On(dev)
	bad := q.Scratch(0, 4)
	inPlaces.Launch(q, "reduce_fill", elementwise(1), &inPlace{x: bad, n: 1, a: 0})
	finites.Launch(q, "reduce_finite", ptx.Grid(ptx.Blocks(n, sumBlock), 256), &finiteParameters{x.Addr(), uint64(n), bad})
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
