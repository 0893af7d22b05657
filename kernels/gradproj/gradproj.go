// Package gradproj forms each sample's LoRA gradient from the factors that a
// packed backward pass leaves, transforms it to the Adam direction if asked,
// and projects it to a few thousand dimensions, without ever storing a batch of
// whole gradients (Rows stores what is left of them, where that pays).
//
// For segment i of the packed batch and one LoRA pair (A [r,in], B [out,r]):
//
//	dA_i = V_iᵀ X_i            [r, in]
//	dB_i = Scale · DY_iᵀ U_i   [out, r]
//	g_i  = (dA_i, dB_i) flattened row by row, at Offset of the sample's gradient
//	γ_i  = g_i, or its Adam direction, rounded to float16 or bf16 if asked
//	out_i += γ_iᵀ R[Offset : Offset+len(g_i)]      R [total, dim]
//
// # The matrix R
//
// R is a pure function of (kind, seed, row, column): the same for every batch
// size, number of threads and device. Philox4x32-10 (Salmon et al. 2011; key =
// low and high word of the seed) gives 128 bits w0 … w3 for a counter
// (c0, c1, c2, c3); p is the row, its 64-bit quotients below are split into low
// and high words; c the column:
//
//	rademacher  counter (lo(p/64), hi(p/64), 8·(c/16) + c%8, 0): one call is 64 rows of the
//	            two columns c and c+8. Byte j of the 16 (little-endian, w0 first) holds rows
//	            64·(p/64) + 8·(j/2) + bit of column 16·(c/16) + c%8 + 8·(j%2).
//	            Bit 1 is +1/√dim, bit 0 is -1/√dim.
//	gaussian    counter (lo p, hi p, 8·(c/32) + c%8, 1): word k belongs to column
//	            32·(c/32) + c%8 + 8·k; (w0,w1) and (w2,w3) are Box-Muller pairs, cosine first:
//	            see normalPair. Entries are N(0, 1/dim).
//	sjlt        counter (lo p, hi p, j, 2): word k gives entry e = 4j+k of row p, of s entries: bucket
//	            b_e + ((w>>1)·(b_{e+1}-b_e) >> 31) with b_e = e·dim/s, value -1/√s if w is odd, else +1/√s
//	            (Kane and Nelson 2014, block construction).
//	none        the identity, dim = total
//	inner       the transposed Options.Vectors
//	trak        signs from Options.Source, +1 and -1
//
// For all random kinds but trak, E⟨γᵀR, δᵀR⟩ = ⟨γ,δ⟩ and the variance is at most
// (|γ|²|δ|² + ⟨γ,δ⟩²)/dim; the trak products are dim times that.
//
// # Arithmetic
//
// float32; with Options.BF16 the four factors of a pair are rounded to bf16 first, as in
// every product of a bf16 run, and γ last: sums and the Adam direction stay float32, and on
// a GPU the product with R takes one plane of bf16 instead of three, exactly the γ that the
// square norm is of. The order of every sum depends on the row numbers alone: 64-row tiles
// aligned in the whole gradient, blocks of rows, pairs in the order of the calls.
// A sample has the same bits alone, in any batch and on any number of threads,
// and at every simd level but for gemm's own rounding.
//
// # Floor and ladder
//
// See rademacher_cpu.go for the dense projection, sjlt_cpu.go for the sparse one; on devices
// gradproj.cu, signs.cu, signs.sm90a.cu, sparse.cu and gaussian.cu.
package gradproj

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/scratch"
)

// Kind names a projection.
type Kind string

// The projections: see the package comment.
const (
	Rademacher Kind = "rademacher"
	Gaussian   Kind = "gaussian"
	SJLT       Kind = "sjlt"
	None       Kind = "none"
	Inner      Kind = "inner"
	TRAK       Kind = "trak"
)

// Source gives the signs of a matrix that only a sequential generator can draw:
// TRAK's CPU projector.
type Source interface {
	// Signs writes rows [row0, row0+nrows) of the 128-column block b to dst
	// [2*nrows]: bit j of dst[2i] is column 128b+j, bit j of dst[2i+1] column
	// 128b+64+j; 1 means +1, 0 means -1. Columns beyond the projection's dim are
	// not looked at. Different blocks may be asked for at the same time; one
	// block is asked for by one goroutine at a time, with row0 increasing inside
	// a call of Accumulate.
	Signs(dst []uint64, block, row0, nrows int)
}

// Options refine a projection.
type Options struct {
	Entries int        // sjlt: entries per row, 0 = 4
	Float16 bool       // round γ to float16 (nearest even) before the product, as upstream does
	BF16    bool       // a run in bf16: round the factors to bf16, and γ too (nearest even)
	Source  Source     // trak: the signs
	Vectors driver.F32 // inner: [dim, total]
}

// Projection maps flattened gradients of length Total to Dim numbers. It keeps
// buffers between calls and serves one goroutine at a time.
type Projection struct {
	kind       Kind
	dim, total int
	opt        Options
	seed       uint64
	keys       roundKeys
	work       workspace
}

// New prepares a projection of gradients with total entries to dim numbers.
// kind none takes dim 0 or total. The error names the argument that is wrong.
func New(kind Kind, dim int, seed uint64, total int, opt Options) (*Projection, error) {
	if kind == None && dim == 0 {
		dim = total
	}
	if opt.Entries == 0 {
		opt.Entries = 4
	}
	if opt.Float16 && opt.BF16 {
		return nil, fmt.Errorf("gradproj: gradients rounded to float16 and to bf16")
	}
	switch kind {
	case Rademacher, Gaussian:
	case SJLT:
		if opt.Entries < 1 || opt.Entries > dim {
			return nil, fmt.Errorf("gradproj: sjlt with %d entries per row, dim is %d", opt.Entries, dim)
		}
	case None:
		if dim != total {
			return nil, fmt.Errorf("gradproj: projection none has dim %d, the gradient %d entries", dim, total)
		}
	case Inner:
		if opt.Vectors.Len() != dim*total {
			return nil, fmt.Errorf("gradproj: inner products with %d vectors of %d need %d floats, not %d", dim, total, dim*total, opt.Vectors.Len())
		}
	case TRAK:
		if opt.Source == nil {
			return nil, fmt.Errorf("gradproj: projection trak without a source of signs")
		}
	default:
		return nil, fmt.Errorf("gradproj: unknown projection %q, known are %q, %q, %q, %q", kind, Rademacher, Gaussian, SJLT, None)
	}
	if dim < 1 || total < 1 {
		return nil, fmt.Errorf("gradproj: projection of %d entries to %d", total, dim)
	}
	p := &Projection{kind: kind, dim: dim, total: total, opt: opt, seed: seed, keys: newRoundKeys(seed)}
	p.work.threads = scratch.NewPool[drawing](128)
	return p, nil
}

// Dim is the number of columns of out.
func (p *Projection) Dim() int { return p.dim }

// Total is the number of entries of a flattened gradient.
func (p *Projection) Total() int { return p.total }

// Kind is the projection's kind.
func (p *Projection) Kind() Kind { return p.kind }

// Factors are what the backward pass of a packed batch of T tokens computes for
// one LoRA pair y += Scale·(x Aᵀ)Bᵀ.
type Factors struct {
	X        driver.F32 // input of the pair [T, In]
	U        driver.F32 // X Aᵀ [T, Rank]
	DY       driver.F32 // gradient of the output [T, Out]
	V        driver.F32 // Scale·DY B [T, Rank]
	In, Out  int
	Rank     int
	Scale    float32
	Segments []int32 // where samples begin: len n+1, first 0, last T; empty segments have gradient 0
	Offset   int     // of dA in the flattened gradient; dB follows it
}

// Samples is the number of segments.
func (f *Factors) Samples() int { return len(f.Segments) - 1 }

// Size is the number of entries of the pair's gradient.
func (f *Factors) Size() int { return f.Rank * (f.In + f.Out) }

// Adam asks for the direction an Adam step would take after seeing the gradient:
//
//	m' = Beta1·m + (1-Beta1)·g,  v' = Beta2·v + (1-Beta2)·g²
//	γ  = m̂/(√v̂ + Eps)  or, with EpsInside,  m̂/√(v̂ + Eps)
//
// m̂, v̂ are m', v' as they are (BiasCorrection 0: DataFlex and LESS's code) or
// divided by 1-Beta1ᵗ and 1-Beta2ᵗ with t = BiasCorrection (the paper: t counts
// this step too). Arithmetic is float32, rounded after each operation in
// PyTorch's order (0.1·g + 0.9·m)/(√(0.999·v + 0.001·(g·g)) + ε).
type Adam struct {
	Beta1, Beta2   float64
	Eps            float64
	EpsInside      bool
	BiasCorrection int
	M, V           driver.F32 // the moments of the block: dA then dB
}

// Programmer errors.
const (
	badSegments = "gradproj: Segments do not run from 0 to T"
	badFactors  = "gradproj: a factor's length is not T times its width"
	badOffset   = "gradproj: the block reaches beyond the gradient"
	badOut      = "gradproj: out is not [samples, dim]"
	badNorm     = "gradproj: normSq is not [samples]"
	badMoments  = "gradproj: the moments are not as long as the gradient block"
)

// Accumulate adds the pair's contribution to out [n, Dim] and the squared norm
// of its γ to normSq [n] (float64). Calls for all pairs, in the same order,
// complete a sample; out and normSq start at zero. Batches of a multiple of
// eight samples use the vectors fully.
func (p *Projection) Accumulate(dev driver.Device, f Factors, adam *Adam, out driver.F32, normSq []float64) {
	n := f.check()
	p.check(f.Offset, f.Size(), n, adam, out)
	if len(normSq) != n {
		panic(badNorm)
	}
	dispatch.Run(dev, "gradproj.Accumulate", func(c *cpu.Device) {
		p.accumulateCPU(c, &f, adam, out.Host(), normSq)
	}, func(c driver.Launcher) {
		p.accumulatePTX(c, &f, adam, out, normSq)
	})
}

// Dense is Accumulate for one sample's gradient block g that already exists
// (full fine-tuning): g begins at offset of the flattened gradient and is left
// as it is; out [Dim].
func (p *Projection) Dense(dev driver.Device, g driver.F32, offset int, adam *Adam, out driver.F32, normSq *float64) {
	p.check(offset, g.Len(), 1, adam, out)
	if normSq == nil {
		panic(badNorm)
	}
	dispatch.Run(dev, "gradproj.Dense", func(c *cpu.Device) {
		p.denseCPU(c, g.Host(), offset, adam, out.Host(), normSq)
	}, func(c driver.Launcher) {
		p.densePTX(c, g, offset, adam, out, normSq)
	})
}

func (p *Projection) check(offset, size, n int, adam *Adam, out driver.F32) {
	if out.Len() != n*p.dim {
		panic(badOut)
	}
	p.checkBlock(offset, size, adam)
}

func (p *Projection) checkBlock(offset, size int, adam *Adam) {
	switch {
	case offset < 0 || offset+size > p.total:
		panic(badOffset)
	case adam != nil && (adam.M.Len() != size || adam.V.Len() != size):
		panic(badMoments)
	}
}

// check returns the number of samples.
func (f *Factors) check() int {
	n := f.Samples()
	if n < 1 || f.Segments[0] != 0 {
		panic(badSegments)
	}
	for i, s := range f.Segments[1:] {
		if s < f.Segments[i] {
			panic(badSegments)
		}
	}
	t := int(f.Segments[n])
	if f.X.Len() != t*f.In || f.DY.Len() != t*f.Out || f.U.Len() != t*f.Rank || f.V.Len() != t*f.Rank {
		panic(badFactors)
	}
	return n
}
