package topk

import (
	_ "embed"
	"math"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed topk.sm80.ptx.br
var sm80 string

var family = ptx.New("topk", sm80)

// rowBlock is struct row_block of topk.cu.
type rowBlock struct {
	x, bound, value, column, count uintptr
	ld, columns, k                 int32
}

var kernels = ptx.Declare[ptx.One[rowBlock]](family, "topk_smallest")

// maxColumns is the largest number of columns for a block of topk.cu.
const maxColumns = 8192

// Scratch buffers.
const (
	valueSlot = iota
	columnSlot
	countSlot
)

// keepPTX finds the k smallest of every row on the device and adds them to the heaps.
func (b *Best) keepPTX(dev driver.Launcher, x driver.F32, rows, columns, first int) {
	for lo := 0; lo < columns && b.k > 0 && rows > 0; lo += maxColumns {
		n := min(maxColumns, columns-lo)
		values, places, counts := b.smallest(dev, x.Addr()+uintptr(4*lo), rows, columns, n)
		k := len(values) / rows
		for i := range rows {
			b.merge(i, values[i*k:][:counts[i]], places[i*k:], first+lo)
		}
	}
}

// merge adds entries of row i, in columns counted from first.
func (b *Best) merge(i int, values []float32, places []int32, first int) {
	h := b.rows[i]
	for j, v := range values {
		e := Entry{v, places[j] + int32(first)}
		switch {
		case len(h) < b.k:
			h = append(h, e)
			up(h, len(h)-1)
		case e.before(h[0]):
			h[0] = e
			down(h)
		}
	}
	b.rows[i] = h
}

// smallest returns up to k of n columns of every row at x, rows at intervals of ld: values
// and columns [rows, k], and their number.
func (b *Best) smallest(dev driver.Launcher, x uintptr, rows, ld, n int) (values []float32, places, counts []int32) {
	q, k := ptx.On(dev), min(b.k, n)
	value, column, count := q.Scratch(valueSlot, 4*rows*k), q.Scratch(columnSlot, 4*rows*k), q.Scratch(countSlot, 4*rows)
	c := ptx.Grid(rows, 256)
	c.Shared = 4 * n
	kernels.Launch(q, "topk_smallest", c, &ptx.One[rowBlock]{P: rowBlock{
		x: x, bound: ptx.Upload(q, b.bounds(rows)), value: value, column: column, count: count, ld: int32(ld), columns: int32(n), k: int32(k),
	}})

	values, places, counts = make([]float32, rows*k), make([]int32, rows*k), make([]int32, rows)
	q.Read(raw(counts), count)
	q.Read(raw(values), value)
	q.Read(raw(places), column)
	return values, places, counts
}

// bounds are the largest values that can still be kept.
func (b *Best) bounds(rows int) []float32 {
	bound := make([]float32, rows)
	for i := range bound {
		bound[i] = float32(math.Inf(1))
		if len(b.rows[i]) == b.k {
			bound[i] = b.rows[i][0].Value
		}
	}
	return bound
}

func raw[T int32 | float32](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x))
}
