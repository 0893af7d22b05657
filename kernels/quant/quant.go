// Package quant multiplies with frozen weights in 4 or 8 bits, in bitsandbytes' formats.
//
// A weight W [rows, cols] is codes and scales. In 4 bits (NF4, FP4) the elements are
// divided, row after row, into blocks of Block elements:
//
//	W_i = table[code_i] · absmax[i / Block]
//
// code 2i is in the high half of byte i. With double quantisation the absmaxes are
// themselves 8-bit codes in blocks of 256, relative to their mean:
//
//	absmax_j = map[codes_j] · nested[j / 256] + offset
//
// If cols is a multiple of 16 but not of Block, blocks continue from one row into the next.
// bitsandbytes' decoder for CPUs with AVX-512, with which its runs were recorded,
// nevertheless uses absmax[row·⌊cols/Block⌋ + col/Block], and so does this package, on every
// device. bitsandbytes' GPU kernels use absmax[i/Block]; the two only differ if cols is not
// a multiple of Block, which it is in released models, as far as we know.
//
// In 8 bits (Int8) a row has one scale: W_ij = code_ij · (absmax_i / 127).
//
// All of this is float32 arithmetic, with every operation rounded: W has the same bits on
// every device, with every number of threads, and in bitsandbytes. The codes of a float32
// weight (Encode) are those of bitsandbytes, ties included.
//
// Products are those of package gemm with W as B, to the bit: Multiply is gemm.Run with the
// dequantised matrix, which is never in memory. On the host the packer of gemm's panels
// decodes as it packs. On a device
//
//	v1  bands of at most 32 MiB of W are decoded into scratch memory, and gemm's kernels
//	    read those: each byte of codes costs 4 (bf16) or 8 (float32) bytes written and
//	    read again, per product. By the rates of the data sheets 2 to 4 % of a bf16
//	    product with 8192 rows, most of one with few. Left for MultiplyLeft, and for
//	    float32 products where a row is no multiple of 8 elements; bands lie along C's
//	    columns, so that they cut no sum.
//	v2  gemm's kernels with another way for B: threads decode their part of the next
//	    slice into shared memory beside the products of this one (product.cu,
//	    product_bf16.cu, product_bf16.sm90a.cu). Not measured on a GPU.
//
// Sources: Dettmers et al. 2023, arXiv:2305.14314 (QLoRA: NF4, double quantisation);
// Dettmers et al. 2022, arXiv:2208.07339 (LLM.int8, of which only the row-wise codes of W
// are used here: activations are not quantised); bitsandbytes 0.50.2.
package quant

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/gemm"
)

// Kind is a kind of codes.
type Kind uint8

// The kinds of codes.
const (
	NF4 Kind = iota // quantiles of the normal distribution
	FP4             // sign, two bits of exponent, one of mantissa
	Int8
)

// String is bitsandbytes' name.
func (k Kind) String() string {
	if k > Int8 {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return [...]string{"nf4", "fp4", "int8"}[k]
}

const (
	// DefaultBlock is the default number of elements that share an absmax.
	DefaultBlock = 64
	nestedBlock  = 256 // absmaxes that share one, with double quantisation
	mapSize      = 256
	tableSize    = 16
)

// Format describes how a weight is encoded.
type Format struct {
	Kind   Kind
	Block  int  // for 4-bit codes: a power of 2 from 32 on
	Double bool // for 4-bit codes: the absmaxes are codes, too
}

// Matrix is an encoded weight on a device.
type Matrix struct {
	Format
	Rows, Cols int

	Codes  driver.Slice[uint8] // [(rows·cols+1)/2], or Int8: [rows·cols], two's complement
	Absmax driver.F32          // [blocks], or Int8: [rows]; nil with Double
	Tables driver.F32          // values of the codes [16], and with Double the map [256]; nil for Int8

	// With Double:
	AbsmaxCodes driver.Slice[uint8] // [blocks]
	Nested      driver.F32          // [blocks/256, rounded up]
	Offset      float32
}

// Parts is a weight's codes on the host; its fields are Matrix's.
type Parts struct {
	Codes       []uint8
	Absmax      []float32
	Tables      []float32
	AbsmaxCodes []uint8
	Nested      []float32
	Offset      float32
}

// sizes are the lengths of a weight's parts.
func (f Format) sizes(rows, cols int) (codes, absmax, tables, absmaxCodes, nested int) {
	n := rows * cols
	if f.Kind == Int8 {
		return n, rows, 0, 0, 0
	}
	blocks := (n + f.Block - 1) / f.Block
	if f.Double {
		return (n + 1) / 2, 0, tableSize + mapSize, blocks, (blocks + nestedBlock - 1) / nestedBlock
	}
	return (n + 1) / 2, blocks, tableSize, 0, 0
}

// Ragged reports whether blocks of a matrix with that many columns are read by row although
// they continue from one row into the next.
func (f Format) Ragged(cols int) bool {
	return f.Kind != Int8 && cols%16 == 0 && cols%f.Block != 0
}

// blocksPerRow is the number of blocks counted per row of a ragged matrix; 0 for others.
func (f Format) blocksPerRow(cols int) int {
	if !f.Ragged(cols) {
		return 0
	}
	return cols / f.Block
}

// aligned rounds a size in bytes up to the offset of the next part.
func aligned(n int) int { return (n + 63) &^ 63 }

// Bytes is the memory of a weight of that shape.
func (f Format) Bytes(rows, cols int) int {
	codes, absmax, tables, absmaxCodes, nested := f.sizes(rows, cols)
	return aligned(codes) + aligned(4*absmax) + aligned(4*tables) + aligned(absmaxCodes) + aligned(4*nested)
}

// Valid returns an error for an invalid format.
func (f Format) Valid() error {
	switch {
	case f.Kind > Int8:
		return fmt.Errorf("unknown codes %v", f.Kind)
	case f.Kind == Int8 && (f.Double || f.Block != 0):
		return fmt.Errorf("int8 codes have one scale a row: neither blocks nor double quantisation")
	case f.Kind != Int8 && (f.Block < 32 || f.Block > 4096 || f.Block&(f.Block-1) != 0):
		return fmt.Errorf("blocks of %d elements: a power of 2 from 32 to 4096 is read", f.Block)
	}
	return nil
}

// In views Format.Bytes of device memory as a weight.
func (f Format) In(m driver.Memory, rows, cols int) Matrix {
	if err := f.Valid(); err != nil {
		panic("quant: " + err.Error())
	}
	codes, absmax, tables, absmaxCodes, nested := f.sizes(rows, cols)
	all, at := driver.View[uint8](m), 0
	cut := func(bytes int) driver.Slice[uint8] {
		s := all.Sub(at, at+bytes)
		at += aligned(bytes)
		return s
	}
	floats := func(n int) driver.F32 {
		if n == 0 {
			return driver.F32{}
		}
		return driver.View[float32](cut(4 * n).Memory())
	}
	w := Matrix{Format: f, Rows: rows, Cols: cols, Codes: cut(codes), Absmax: floats(absmax), Tables: floats(tables)}
	if f.Double {
		w.AbsmaxCodes, w.Nested = cut(absmaxCodes), floats(nested)
	}
	return w
}

// Upload overwrites w with p, whose parts have the lengths of w's.
func (w *Matrix) Upload(dev driver.Device, p Parts) error {
	if err := driver.Upload(dev, w.Codes, p.Codes); err != nil {
		return err
	}
	for _, x := range []struct {
		to   driver.F32
		from []float32
	}{{w.Absmax, p.Absmax}, {w.Tables, p.Tables}, {w.Nested, p.Nested}} {
		if err := driver.Upload(dev, x.to, x.from); err != nil {
			return err
		}
	}
	w.Offset = p.Offset
	return driver.Upload(dev, w.AbsmaxCodes, p.AbsmaxCodes)
}

// Decode overwrites out with rows r0 to r1 and columns c0 to c1 of W.
func (w *Matrix) Decode(dev driver.Device, r0, r1, c0, c1 int, out gemm.F32) {
	w.check(r0, r1, c0, c1, out.Rows, out.Cols)
	dispatch.Run(dev, "quant.Decode", func(d *cpu.Device) {
		h := w.host()
		d.Parallel(r1-r0, func(i int) {
			h.Read(out.Data.Host()[i*out.Ld:], out.Ld, r0+i, r0+i+1, c0, c1)
		})
	}, func(d driver.Launcher) {
		w.decodePTX(d, "quant_decode", r0, r1, c0, c1, out.Data.Addr(), out.Ld)
	})
}

// DecodeBF16 is Decode rounded to bf16, to nearest even.
func (w *Matrix) DecodeBF16(dev driver.Device, r0, r1, c0, c1 int, out gemm.BF16) {
	w.check(r0, r1, c0, c1, out.Rows, out.Cols)
	dispatch.Run(dev, "quant.DecodeBF16", func(d *cpu.Device) {
		w.decodeBF16CPU(d, r0, r1, c0, c1, out)
	}, func(d driver.Launcher) {
		w.decodePTX(d, "quant_decode_bf16", r0, r1, c0, c1, out.Data.Addr(), out.Ld)
	})
}

func (w *Matrix) check(r0, r1, c0, c1, rows, cols int) {
	if r0 < 0 || r1 > w.Rows || c0 < 0 || c1 > w.Cols || rows != r1-r0 || cols != c1-c0 {
		panic("quant: out is not the rectangle's shape")
	}
}

// Multiply is C = alpha A op(W) + beta C with float32 factors: NT, A [m, cols] and C [m,
// rows]; or NN, A [m, rows] and C [m, cols]. It has the bits of gemm.Run with W in float32.
func (w *Matrix) Multiply(dev driver.Device, tr gemm.Transpose, alpha float32, a gemm.F32, beta float32, c gemm.F32) {
	w.checkProduct(tr, a.Rows, a.Cols, c)
	dispatch.Run(dev, "quant.Multiply", func(d *cpu.Device) {
		gemm.RunTiles(d, tr, alpha, a, w.host(), w.Rows, w.Cols, beta, c)
	}, func(d driver.Launcher) {
		if w.groups() {
			w.multiplyPTX(d, tr, alpha, a, beta, c)
			return
		}
		w.bands(tr, 4, maxBand, func(b band) {
			w.decodePTX(d, "quant_decode", b.r0, b.r1, b.c0, b.c1, bandMemory(d, 4*b.rows()*b.cols()), b.cols())
			x := gemm.Dense(view[float32](d, b.rows()*b.cols()), b.rows(), b.cols())
			gemm.Run(d, tr, alpha, a, x, beta, columns(c, b.lo, b.hi))
		})
	})
}

// MultiplyBF16 is Multiply with factors in bf16, as gemm.RunBF16.
func (w *Matrix) MultiplyBF16(dev driver.Device, tr gemm.Transpose, alpha float32, a gemm.BF16, beta float32, c gemm.F32) {
	w.checkProduct(tr, a.Rows, a.Cols, c)
	dispatch.Run(dev, "quant.MultiplyBF16", func(d *cpu.Device) {
		w.bandsBF16CPU(d, tr, func(b band, x gemm.BF16) {
			gemm.RunBF16(d, tr, alpha, a, x, beta, columns(c, b.lo, b.hi))
		})
	}, func(d driver.Launcher) {
		w.multiplyBF16PTX(d, tr, alpha, a, gemm.BF16{}, gemm.BF16{}, beta, c)
	})
}

// MultiplyLoRABF16 is C = A op(W) + U op(L) + beta C, as gemm.RunLoRABF16.
func (w *Matrix) MultiplyLoRABF16(dev driver.Device, tr gemm.Transpose, a, u, l gemm.BF16, beta float32, c gemm.F32) {
	w.checkProduct(tr, a.Rows, a.Cols, c)
	dispatch.Run(dev, "quant.MultiplyLoRABF16", func(d *cpu.Device) {
		w.bandsBF16CPU(d, tr, func(b band, x gemm.BF16) {
			part := l.Sub(b.lo, b.hi)
			if tr == gemm.NN {
				part = columns(l, b.lo, b.hi)
			}
			gemm.RunLoRABF16(d, tr, a, x, u, part, beta, columns(c, b.lo, b.hi))
		})
	}, func(d driver.Launcher) {
		w.multiplyBF16PTX(d, tr, 1, a, u, l, beta, c)
	})
}

// MultiplyLeft is C = W Bᵀ, B [n, cols] and C [rows, n], with the bits of gemm.Run.
func (w *Matrix) MultiplyLeft(dev driver.Device, b, c gemm.F32) {
	w.checkLeft(b.Rows, b.Cols, c)
	dispatch.Run(dev, "quant.MultiplyLeft", func(d *cpu.Device) {
		w.leftCPU(d, b, c)
	}, func(d driver.Launcher) {
		w.bands(gemm.NT, 4, maxBand, func(x band) {
			w.decodePTX(d, "quant_decode", x.r0, x.r1, x.c0, x.c1, bandMemory(d, 4*x.rows()*x.cols()), x.cols())
			gemm.Run(d, gemm.NT, 1, gemm.Dense(view[float32](d, x.rows()*x.cols()), x.rows(), x.cols()), b, 0, c.Sub(x.lo, x.hi))
		})
	})
}

// MultiplyLeftBF16 is MultiplyLeft with factors in bf16.
func (w *Matrix) MultiplyLeftBF16(dev driver.Device, b gemm.BF16, c gemm.F32) {
	w.checkLeft(b.Rows, b.Cols, c)
	product := func(x band, part gemm.BF16) { gemm.RunBF16(dev, gemm.NT, 1, part, b, 0, c.Sub(x.lo, x.hi)) }
	dispatch.Run(dev, "quant.MultiplyLeftBF16", func(d *cpu.Device) {
		w.bandsBF16CPU(d, gemm.NT, product)
	}, func(d driver.Launcher) {
		w.bands(gemm.NT, 2, maxBand, func(x band) {
			w.decodePTX(d, "quant_decode_bf16", x.r0, x.r1, x.c0, x.c1, bandMemory(d, 2*x.rows()*x.cols()), x.cols())
			product(x, gemm.Dense(view[driver.BF16](d, x.rows()*x.cols()), x.rows(), x.cols()))
		})
	})
}

func (w *Matrix) checkLeft(rows, cols int, c gemm.F32) {
	if cols != w.Cols || c.Rows != w.Rows || c.Cols != rows {
		panic("quant: the shapes of W, B and C do not match")
	}
}

func (w *Matrix) checkProduct(tr gemm.Transpose, rows, cols int, c gemm.F32) {
	k, n := w.Cols, w.Rows
	if tr == gemm.NN {
		k, n = w.Rows, w.Cols
	}
	if tr == gemm.TN || cols != k || c.Cols != n || c.Rows != rows {
		panic("quant: the shapes of A, W and C do not match")
	}
}

// columns are columns lo to hi of x.
func columns[T gemm.Element](x gemm.Matrix[T], lo, hi int) gemm.Matrix[T] {
	data := x.Data
	if x.Rows > 0 {
		data = data.Sub(lo, (x.Rows-1)*x.Ld+hi)
	}
	return gemm.Strided(data, x.Rows, hi-lo, x.Ld)
}
