package quant

import (
	"math/bits"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/scratch"
)

// hostMatrix is a weight in memory that Go can access: gemm's packer reads it.
type hostMatrix struct {
	Parts
	kind  Kind
	cols  int
	shift int // right shift from an element's index to its block's

	ragged bool
	perRow int // blocks per row, if the matrix is ragged
}

func (w *Matrix) host() *hostMatrix {
	return &hostMatrix{
		Parts: Parts{w.Codes.Host(), w.Absmax.Host(), w.Tables.Host(), w.AbsmaxCodes.Host(), w.Nested.Host(), w.Offset},
		kind:  w.Kind, cols: w.Cols, shift: bits.TrailingZeros(uint(w.Block)), ragged: w.Ragged(w.Cols), perRow: w.blocksPerRow(w.Cols),
	}
}

// Read writes rows r0 to r1 and columns c0 to c1 to dst, the rows ld apart.
func (h *hostMatrix) Read(dst []float32, ld, r0, r1, c0, c1 int) {
	for r := r0; r < r1; r++ {
		row := dst[(r-r0)*ld:][:c1-c0]
		if h.kind == Int8 {
			h.readInt8(row, r, c0)
		} else {
			h.read4(row, r, c0)
		}
	}
}

// inverse127 is 1/127, by which bitsandbytes multiplies.
const inverse127 = float32(1.0 / 127)

func (h *hostMatrix) readInt8(dst []float32, row, from int) {
	scale := h.Absmax[row] * inverse127
	for i, c := range h.Codes[row*h.cols+from:][:len(dst)] {
		dst[i] = float32(int8(c)) * scale
	}
}

// read4 reads a row from a column on, block by block.
func (h *hostMatrix) read4(dst []float32, row, column int) {
	for len(dst) > 0 {
		at, first := row*h.cols+column, 0 // index in the sequence divided into blocks, and the index of the first block
		if h.ragged {
			at, first = column, row*h.perRow
		}
		block := at >> h.shift
		n := min(len(dst), (block+1)<<h.shift-at)
		h.readBlock(dst[:n], row*h.cols+column, h.absmax(first+block))
		dst, column = dst[n:], column+n
	}
}

// absmax is that of a block.
func (h *hostMatrix) absmax(block int) float32 {
	if len(h.AbsmaxCodes) == 0 {
		return h.Absmax[block]
	}
	return float32(h.Tables[tableSize+int(h.AbsmaxCodes[block])]*h.Nested[block/nestedBlock]) + h.Offset
}

// readBlock reads elements of one block.
func (h *hostMatrix) readBlock(dst []float32, from int, absmax float32) {
	var values [tableSize]float32 // the products, each computed once
	for i, x := range h.Tables[:tableSize] {
		values[i] = x * absmax
	}
	if from%2 == 1 {
		dst[0] = values[h.Codes[from/2]&15]
		dst, from = dst[1:], from+1
	}
	codes := h.Codes[from/2:][:(len(dst)+1)/2]
	for i := range len(dst) / 2 {
		c := codes[i]
		dst[2*i], dst[2*i+1] = values[c>>4], values[c&15]
	}
	if len(dst)%2 == 1 {
		dst[len(dst)-1] = values[codes[len(dst)/2]>>4]
	}
}

func (w *Matrix) decodeBF16CPU(d *cpu.Device, r0, r1, c0, c1 int, out gemm.BF16) {
	h := w.host()
	d.Parallel(r1-r0, func(i int) {
		row := rowsOfHost.Take()
		*row = scratch.Sized(*row, c1-c0)
		h.Read(*row, len(*row), r0+i, r0+i+1, c0, c1)
		cast.NarrowHost(*row, out.Data.Host()[i*out.Ld:][:len(*row)])
		rowsOfHost.Give(row)
	})
}

// bandsBF16CPU calls product with every band of W in bf16, small enough for a core's cache.
func (w *Matrix) bandsBF16CPU(d *cpu.Device, tr gemm.Transpose, product func(b band, x gemm.BF16)) {
	memory := halfBandsOfHost.Take()
	w.bands(tr, 2, maxHostBand, func(b band) {
		*memory = scratch.Sized(*memory, b.rows()*b.cols())
		x := gemm.Dense(driver.FromHost(*memory), b.rows(), b.cols())
		w.decodeBF16CPU(d, b.r0, b.r1, b.c0, b.c1, x)
		product(b, x)
	})
	halfBandsOfHost.Give(memory)
}

// maxHostBand is the largest size of a band of W in bf16, in bytes.
const maxHostBand = 2 << 20

var (
	rowsOfHost      = scratch.NewPool[[]float32](64)
	halfBandsOfHost = scratch.NewPool[[]driver.BF16](4)
)

// leftBand is the number of elements of W that are decoded at a time if it is a product's
// left factor, which gemm reads in rows.
const leftBand = 1 << 18

var bandsOfHost = scratch.NewPool[[]float32](4)

func (w *Matrix) leftCPU(d *cpu.Device, b, c gemm.F32) {
	h, rows := w.host(), max(1, leftBand/max(1, w.Cols))
	memory := bandsOfHost.Take()
	*memory = scratch.Sized(*memory, min(rows, w.Rows)*w.Cols)
	x := *memory
	for r := 0; r < w.Rows; r += rows {
		n := min(rows, w.Rows-r)
		d.Parallel(n, func(i int) { h.Read(x[i*w.Cols:], w.Cols, r+i, r+i+1, 0, w.Cols) })
		gemm.Run(d, gemm.NT, 1, gemm.OnHost(x, n, w.Cols, w.Cols), b, 0, c.Sub(r, r+n))
	}
	bandsOfHost.Give(memory)
}

var _ gemm.Tiles = (*hostMatrix)(nil)

// Decoded returns W in float32 on the host.
func (p Parts) Decoded(f Format, rows, cols int) []float32 {
	h := &hostMatrix{Parts: p, kind: f.Kind, cols: cols, shift: bits.TrailingZeros(uint(f.Block)), ragged: f.Ragged(cols), perRow: f.blocksPerRow(cols)}
	x := make([]float32, rows*cols)
	h.Read(x, cols, 0, rows, 0, cols)
	return x
}

// Download returns w's codes on the host.
func (w *Matrix) Download(dev driver.Device) (p Parts, err error) {
	if p.Codes, err = driver.Read(dev, w.Codes); err != nil {
		return p, err
	}
	for _, x := range []struct {
		to   *[]float32
		from driver.F32
	}{{&p.Absmax, w.Absmax}, {&p.Tables, w.Tables}, {&p.Nested, w.Nested}} {
		if *x.to, err = driver.Read(dev, x.from); err != nil {
			return p, err
		}
	}
	p.Offset = w.Offset
	if p.AbsmaxCodes, err = driver.Read(dev, w.AbsmaxCodes); len(p.AbsmaxCodes) == 0 {
		p.AbsmaxCodes = nil
	}
	return p, err
}
