package quant

import (
	_ "embed"
	"math/bits"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed quant.sm80.ptx.br
var sm80 string

var family = ptx.New("quant", sm80)

// codes are struct codes of codes.cuh.
type codes struct {
	data, absmax, tables, absmaxCodes, nested uintptr
	offset                                    float32
	shift                                     int32 // negative: int8
	cols, ragged, perRow                      int32
}

func (w *Matrix) codes() codes {
	shift := int32(bits.TrailingZeros(uint(w.Block)))
	if w.Kind == Int8 {
		shift = -1
	}
	return codes{
		data: w.Codes.Addr(), absmax: w.Absmax.Addr(), tables: w.Tables.Addr(), absmaxCodes: w.AbsmaxCodes.Addr(), nested: w.Nested.Addr(),
		offset: w.Offset, shift: shift, cols: int32(w.Cols), ragged: ptx.Flag(w.Ragged(w.Cols)), perRow: int32(w.blocksPerRow(w.Cols)),
	}
}

// rectangle is that of quant.cu.
type rectangle struct {
	w                       codes
	out                     uintptr
	r0, c0, rows, width, ld int32
}

var decoders = ptx.Declare[ptx.One[rectangle]](family, "quant_decode", "quant_decode_bf16")

// perThread is the number of elements that a thread of the decoders writes.
const perThread = 8

func (w *Matrix) decodePTX(dev driver.Launcher, kernel string, r0, r1, c0, c1 int, out uintptr, ld int) {
	threads := (r1 - r0) * ptx.Blocks(c1-c0, perThread)
	decoders.Launch(ptx.On(dev), kernel, ptx.Grid(ptx.Blocks(threads, 256), 256), &ptx.One[rectangle]{P: rectangle{
		w: w.codes(), out: out, r0: int32(r0), c0: int32(c0), rows: int32(r1 - r0), width: int32(c1 - c0), ld: int32(ld),
	}})
}

// bandSlot is the scratch buffer of a decoded band during its product: gemm uses another.
const bandSlot = 6

// maxBand is its largest size in bytes. It is a variable for tests, which use bands of small
// matrices.
var maxBand = 32 << 20

func bandMemory(dev driver.Launcher, bytes int) uintptr { return ptx.On(dev).Scratch(bandSlot, bytes) }

// view is the band as n elements.
func view[T gemm.Element](dev driver.Launcher, n int) driver.Slice[T] {
	var zero T
	size := 4
	if _, half := any(zero).(driver.BF16); half {
		size = 2
	}
	return driver.View[T](driver.DeviceMemory(bandMemory(dev, size*n), size*n))
}

// band is the part of W that is decoded at a time, and the columns of C that it produces.
type band struct{ r0, r1, c0, c1, lo, hi int }

func (b band) rows() int { return b.r1 - b.r0 }
func (b band) cols() int { return b.c1 - b.c0 }

// bandUnit is the unit of a band's width: a tile of gemm.
const bandUnit = 128

// bands calls f for the bands of W, whose elements have size bytes, of at most `most` bytes
// each.
func (w *Matrix) bands(tr gemm.Transpose, size, most int, f func(b band)) {
	k, n := w.Cols, w.Rows
	if tr == gemm.NN {
		k, n = n, k
	}
	wide := max(most/(size*max(k, 1))/bandUnit, 1) * bandUnit
	for lo := 0; lo < n; lo += wide {
		hi := min(lo+wide, n)
		if tr == gemm.NN {
			f(band{0, k, lo, hi, lo, hi})
		} else {
			f(band{lo, hi, 0, k, lo, hi})
		}
	}
}
