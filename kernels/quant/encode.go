package quant

import (
	"math"
	"math/bits"
	"sync"

	"dataflex.dev/dataflex/kernels/scratch"
)

// least is the smallest divisor of an absmax, as in bitsandbytes.
const least = 1e-38

// Encode overwrites p with the codes of w [rows, cols] as bitsandbytes chooses them on a
// CPU; memory of p is reused.
//
// With 4 bits an element times 1/absmax gets the nearest code, the lower one on a tie. With
// double quantisation the absmaxes minus their mean get the nearest of the map's, after
// rounding to a grid. With 8 bits the weight is first rounded to float16, as bitsandbytes
// does, and code = round(w · (127/absmax)), to even on a tie.
//
// parallel calls its argument for 0 to n-1 in any order.
func (f Format) Encode(p *Parts, w []float32, rows, cols int, parallel func(n int, f func(i int))) {
	if len(w) != rows*cols {
		panic("quant: w is not [rows, cols]")
	}
	codes, absmax, tables, absmaxCodes, nested := f.sizes(rows, cols)
	p.Codes, p.Tables = scratch.Sized(p.Codes, codes), scratch.Sized(p.Tables, tables)
	p.AbsmaxCodes, p.Nested, p.Offset = scratch.Sized(p.AbsmaxCodes, absmaxCodes), scratch.Sized(p.Nested, nested), 0
	if f.Kind == Int8 {
		p.Absmax = scratch.Sized(p.Absmax, absmax)
		parallel(rows, func(i int) { p.Absmax[i] = encodeRow(p.Codes[i*cols:], w[i*cols:(i+1)*cols]) })
		return
	}
	copy(p.Tables, f.Kind.table()[:])
	p.Absmax = scratch.Sized(p.Absmax, (len(w)+f.Block-1)/f.Block)
	const together = 64 // blocks per task
	parallel((len(p.Absmax)+together-1)/together, func(i int) {
		for b := i * together; b < min((i+1)*together, len(p.Absmax)); b++ {
			lo, hi := b*f.Block, min((b+1)*f.Block, len(w))
			p.Absmax[b] = f.encodeBlock(p.Codes[lo/2:], w[lo:hi])
		}
	})
	if f.Double {
		copy(p.Tables[tableSize:], dynamicMap[:])
		p.Offset = mean(p.Absmax)
		encodeAbsmaxes(p.AbsmaxCodes, p.Nested, p.Absmax, p.Offset)
		p.Absmax = p.Absmax[:0]
	}
}

// encodeBlock packs the codes of a block, and returns its absmax.
func (f Format) encodeBlock(dst []uint8, w []float32) (absmax float32) {
	for _, x := range w {
		absmax = max(absmax, abs(x))
	}
	l := ladders[f.Kind]
	whole := len(w) == f.Block
	if !whole {
		absmax = max(absmax, least)
	}
	inverse := 1 / max(absmax, least)
	scaled := func(x float32) float32 {
		if whole {
			x *= inverse
		} else { // bitsandbytes divides in an incomplete block
			x /= absmax
		}
		return min(max(x, -1), 1)
	}
	for i := 0; i < len(w); i += 2 {
		low := l.code(0) // for the unused half of the last byte
		if i+1 < len(w) {
			low = l.code(scaled(w[i+1]))
		}
		dst[i/2] = l.code(scaled(w[i]))<<4 | low
	}
	return absmax
}

// encodeAbsmaxes codes x - offset in blocks of 256.
func encodeAbsmaxes(codes []uint8, nested, x []float32, offset float32) {
	for b := range nested {
		lo, hi := b*nestedBlock, min((b+1)*nestedBlock, len(x))
		nested[b] = 0
		for _, v := range x[lo:hi] {
			nested[b] = max(nested[b], abs(v-offset))
		}
		for i, v := range x[lo:hi] {
			codes[lo+i] = nearest((v - offset) / nested[b])
		}
	}
}

// grid is the grid to which bitsandbytes rounds a number in [-1, 1] before it looks up its
// code (csrc/cpu_ops.cpp, Direct2): 65536 points, whose codes are tabulated.
const grid = 1 << 16

var gridCodes = sync.OnceValue(func() *[grid]uint8 {
	var t [grid]uint8
	code := 0
	for i := range t {
		x := -1 + float64(i)*(2./(grid-1))
		for code < mapSize-1 && x > float64((dynamicMap[code]+dynamicMap[code+1])/2) {
			code++
		}
		t[i] = uint8(code)
	}
	return &t
})

// nearest is the code in the map; 0 for NaN, which results from equal absmaxes.
func nearest(x float32) uint8 {
	if x != x {
		return 0
	}
	return gridCodes()[int(float32((x+1)*((grid-1)/2.))+0.5)]
}

// encodeRow encodes a row in 8 bits, and returns its absmax.
func encodeRow(dst []uint8, w []float32) (absmax float32) {
	for _, x := range w {
		absmax = max(absmax, abs(float16(x)))
	}
	if absmax == 0 {
		clear(dst[:len(w)])
		return 0
	}
	factor := 1 / absmax * 127 // torch's 127/absmax
	for i, x := range w {
		dst[i] = uint8(int8(math.RoundToEven(float64(float16(x) * factor))))
	}
	return absmax
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// float16 rounds to float16, to nearest even.
func float16(x float32) float32 {
	a := abs(x)
	switch {
	case a != a:
		return x
	case a >= 65520:
		return float32(math.Inf(int(1 - 2*(math.Float32bits(x)>>31))))
	case a < 0x1p-14: // steps of 2^-24
		return float32(math.Copysign(math.RoundToEven(float64(a)*0x1p24)*0x1p-24, float64(x)))
	}
	b := math.Float32bits(x)
	b += 0xfff + b>>13&1
	return math.Float32frombits(b &^ 0x1fff)
}

// lanes is the width of the vectors in which torch sums on a CPU.
const lanes = 8

type vector [lanes]float32

func (v *vector) add(x []float32) {
	for i := range v {
		v[i] += x[i]
	}
}

// mean is torch's on a CPU with AVX2 and one thread: four vectors of sums, cascaded so that
// none gets too large (ATen/native/cpu/SumKernel.cpp). It is the offset on which the codes
// of absmaxes depend.
func mean(x []float32) float32 {
	if len(x) < lanes {
		return sum(x, 1) / float32(len(x))
	}
	whole := len(x) / lanes * lanes
	var s float32
	for _, v := range x[whole:] {
		s += v
	}
	parts := cascade(x[:whole], lanes)
	for _, v := range parts {
		s += v
	}
	return s / float32(len(x))
}

func sum(x []float32, width int) float32 { return cascade(x, width)[0] }

// cascade sums the columns of x [_, width], width <= lanes.
func cascade(x []float32, width int) (total vector) {
	const (
		abreast = 4 // rows that are summed separately
		levels  = 4
	)
	at := func(row int) (v vector) { copy(v[:], x[row*width:(row+1)*width]); return v }
	rows := len(x) / width
	size := rows / abreast
	power := max(4, bits.Len(uint(max(size-1, 0)))/levels)
	step := 1 << power
	var acc [levels][abreast]vector
	group := func(i int) {
		for k := range abreast {
			v := at(i*abreast + k)
			acc[0][k].add(v[:])
		}
	}
	i := 0
	for i+step <= size {
		for range step {
			group(i)
			i++
		}
		for j := 1; j < levels; j++ {
			for k := range abreast {
				acc[j][k].add(acc[j-1][k][:])
				acc[j-1][k] = vector{}
			}
			if i&((step-1)<<(j*power)) != 0 {
				break
			}
		}
	}
	for ; i < size; i++ {
		group(i)
	}
	for j := 1; j < levels; j++ {
		for k := range abreast {
			acc[0][k].add(acc[j][k][:])
		}
	}
	for row := size * abreast; row < rows; row++ {
		v := at(row)
		acc[0][0].add(v[:])
	}
	for k := 1; k < abreast; k++ {
		acc[0][0].add(acc[0][k][:])
	}
	return acc[0][0]
}
