// Package gemm multiplies float32 matrices.
//
// C[m,n] = alpha * op(A) op(B) + beta * C, all row-major (see Matrix). beta is 0 (C
// is overwritten, whatever it held) or 1 (C is accumulated to). C must not overlap A
// or B. k = 0 is an empty sum. There are no alignment requirements.
//
// The order in which the k products of an element are added depends on k alone:
// at one level of package simd a row of C has the same bits whatever m and n
// are, whichever row it is and however many threads compute it. NaN and Inf
// propagate (0 * NaN is NaN). After the first calls of a size nothing is
// allocated.
//
// The host twin follows Goto and van de Geijn, "Anatomy of High-Performance
// Matrix Multiplication" (2008): panels of B in the first-level cache, blocks of
// A in the second, a tile of C in registers (AVX2 6x16 and 14x8, AVX-512 14x32,
// 14x16 and AVX2's 14x8). Transposes differ in the packers only.
//
// Floor: 2*m*n*k FLOP; AVX2 has 2 fused multiply-adds of 8 floats per cycle = 32
// FLOP per cycle, AVX-512 64. On the 2 shared cores of an AMD EPYC (Zen 3, about
// 3.1 GHz), 2026-11-24, the 6x16 tile alone runs at 94 to 100 GFLOP/s per core.
// Best of short runs, GFLOP/s, in brackets the share of the 6x16 tile's rate
// measured beside the run (neighbours slow either down: rung 3 was seen at 60 to
// 96 % with one thread, 56 to 91 % with two):
//
//	m=512 n=1536 k=576, NT, one thread
//	1  three loops                                       1.6
//	2  packed panels, AVX2 6x16                         88.8 (91 %)
//	3  A packed in rows, B with transposes and prefetch 90.0 (96 %), 2 threads 173 (91 %)
//	portable tile 2x4                                    3.8
//	LoRA, one thread
//	NT 512x16x576: A is read where it lies              93.6 (96 %)
//	NT 512x8x576:  tile 6x8 66.3 (68 %), 14x8           77.4 (82 %)
//	TN 576x8x512:  tile 6x8 46.2 (47 %), 14x8 54.7 (58 %), A prefetched 68.3 (71 %)
//	TN 16x576x512: A and B are read where they lie      86.4 (88 %)
//	NT 512x576x8:  bound by C, 1 byte per multiply-add 50.3 (51 %)
//	others, one thread: NN 512x576x1536 86.6 (89 %), TN 576x1536x512 80 (80 %),
//	NN 1024^3 86.0 (88 %), NT 1x1536x576 11.5 = 23 GB/s of B
//
// With AVX2 packing B once for frozen weights was left out: the packers alone, timed, take
// 1.1 % (NT) and 1.5 % (NN) of a multiplication's time at m=512, n=1536, k=576 and 1.0 % and
// 0.8 % at n=576, k=1536. AVX-512 is twice as fast and has it (packed.go), with rows cut
// first, and a LoRA branch in the same pass over A and C. On 2 cores of an Ice Lake Xeon at
// 2.8 GHz with busy neighbours, 2026-11-30, GFLOP/s of one thread by its processor time, best
// of nine, beside 172 of multiply-adds in registers and 152 of the tile alone:
//
//	              at first  C fetched bit by bit,  B packed once, the next
//	                        more rows to a block   panel fetched ahead
//	NT 512x1536x576  105           120                   137
//	NN 512x576x1536  105           110                   130
//	NT 512x576x576   103           119                   135
//	NT 512x49152x576 100           117                   134
//
// A's rows read where they lie: 139, 137, 119 beside 136, 128, 112 in that run, then copied.
//
// A LoRA step (SmolLM2-135M's shape, r = 16, 512 tokens) there, first, with B packed once, and
// with A where it lies, in turn: 206, 221, 190; 180, 183, 224; 163, 210, 232 tokens/s. Its
// floor is 275 GFLOP: 0.80 s at the peak of 344 GFLOP/s of two cores. Shares of its processor
// time, pprof: first tiles 68 %, packing B 9.6, copying A 6.8; with B packed once tiles 75,
// copying A 4, packing (the head's) 3, LoRA's gradients 3, attention 8 with its products,
// the gate 4, norms 2, threads that sleep and wake 4.
//
// On two cores of a Zen 4 at 3.7 GHz, 2026-11-30, best of short runs with two threads, GFLOP/s,
// beside 234 of multiply-adds in registers, with a packed B: first, with threads that wait
// awake (driver/cpu), and cut for the busiest thread; then bf16 by AVX512-BF16, beside 470:
//
//	NT 512x1536x576  212, 224, 230; 442, 463, 463
//	NN 512x576x1536  217, 225, 229; 393, 409, 465
//	NT 512x192x576   203, 226, 230; 341, 349, 464
//	NT 512x49152x576 223, 225, 219; 410, 420, 416, with C and the next panels fetched ahead 441
//
// The tiles alone reach 99 % of the peak there: what is lost in a step is around them.
//
// The AVX-512 kernels are proved by interpretation (kernels/simd/asmtest), on the text that
// is assembled, and by running. Bits are the same as with AVX2.
//
// bf16 on the host (bf16_cpu.go): AMX has 512 multiply-adds a cycle, AVX512-BF16 64. On 2
// shared cores of a Sapphire Rapids, 2026-11-29, best of many short runs with other work on
// both cores, GFLOP/s on AMX, with one thread and two; packed is RunPanels:
//
//	NT 512x1536x576   1026, 1799; packed 1100
//	NT 512x576x576    1096, 1008; packed 1235, 1547
//	NT 512x192x576    1362, 1022; packed 1617, 1332
//	NN 512x576x1536    868,  679; packed  948,  849
//	TN 16x1536x512     237; TN 1536x16x512, computed as its transpose, 175
//
// Shares of a LoRA step's processor time (SmolLM2-135M's shape, r = 16, 512 tokens, bf16,
// pprof on the same busy machine): tiles 36 %, narrowing operands 12, packing 12, float32
// attention 5; then with columns cut first and frozen linears packed once: packing 9, of
// which the head's, adapters' and activations' are left. Waiting threads took 43 % of it
// before driver/cpu stopped reading the clock, and next to nothing since.
package gemm

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Transpose is how A and B are stored.
type Transpose uint8

const (
	NN Transpose = iota // A[m,k] B[k,n]
	NT                  // A[m,k] B[n,k]
	TN                  // A[k,m] B[k,n]
)

// String is the name of the constant.
func (t Transpose) String() string {
	if t > TN {
		return fmt.Sprintf("Transpose(%d)", uint8(t))
	}
	return [...]string{"NN", "NT", "TN"}[t]
}

// Programmer errors.
const (
	badTranspose = "gemm: unknown Transpose"
	badDim       = "gemm: negative dimension"
	badShapes    = "gemm: the shapes of A, B and C make no product"
	badBeta      = "gemm: beta is neither 0 nor 1"
	badLda       = "gemm: lda shorter than a row of A"
	badLdb       = "gemm: ldb shorter than a row of B"
	badLdc       = "gemm: ldc shorter than a row of C"
	shortA       = "gemm: A too short"
	shortB       = "gemm: B too short"
	shortC       = "gemm: C too short"
)

// Run is C = alpha op(A) op(B) + beta C on dev.
func Run(dev driver.Device, tr Transpose, alpha float32, a, b F32, beta float32, c F32) {
	k := depth(tr, a, b, beta, c)
	dispatch.Run(dev, "gemm.Run", func(d *cpu.Device) {
		p := newProblem(tr, k, alpha, a.Data.Host(), a.Ld, b.Data.Host(), b.Ld, beta, c)
		p.run(d)
	}, func(d driver.Launcher) {
		runPTX(d, tr, k, alpha, a, b, beta, c)
	})
}

// Host is Run on host memory, on the calling goroutine alone: for kernels that
// multiply inside their own parallel loops.
func Host(tr Transpose, alpha float32, a, b F32, beta float32, c F32) {
	k := depth(tr, a, b, beta, c)
	p := newProblem(tr, k, alpha, a.Data.Host(), a.Ld, b.Data.Host(), b.Ld, beta, c)
	p.multiply(0, c.Rows, 0, c.Cols)
}
