// Package gemm multiplies matrices in float32 or bf16; products are always summed in float32.
//
//	C[m,n] = alpha · op(A) op(B) + beta · C
//
// All matrices are row-major (see Matrix). op is given by Transpose. beta is 0 (C is
// overwritten, whatever it held) or 1 (C is accumulated to). C must not overlap A or B. k = 0 is
// an empty sum. float32 operands have no alignment requirements; RunBF16 and RunGroup name
// theirs.
//
// The order in which the k products of an element are added depends on k alone: at one level of
// package simd a row of C has the same bits whatever m and n are, whichever row it is, and on
// any number of threads. NaN and Inf propagate (0 · NaN is NaN). After the first calls of a size
// nothing is allocated.
//
// On the host the loops follow Goto and van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication" (ACM TOMS 34(3), 2008): panels of B in the first-level cache, blocks of A in
// the second, a tile of C in registers (AVX2 6x16 and 14x8; AVX-512 14x32 and 14x16, and AVX2's
// 14x8). Transposed operands differ only in how they are packed.
//
// # float32 on AVX2
//
// Floor: 2·m·n·k FLOP at 32 FLOP per cycle (2 fused multiply-adds of 8 floats). On the 2 shared
// cores of an AMD EPYC (Zen 3, about 3.1 GHz), 2026-11-24, the 6x16 tile alone runs at 94 to 100
// GFLOP/s per core. Best of short runs in GFLOP/s, in brackets the share of the tile's rate in
// the same run (other work on the machine slows both: rung 3 was seen at 60 to 96 % with one
// thread, 56 to 91 % with two):
//
//	m=512 n=1536 k=576, NT, one thread
//	1  three loops                                          1.6
//	2  packed panels, AVX2 6x16                            88.8 (91 %)
//	3  A packed by rows, B transposed and prefetched       90.0 (96 %), 2 threads 173 (91 %)
//	portable tile 2x4                                       3.8
//	LoRA, one thread
//	NT 512x16x576: A is not packed                         93.6 (96 %)
//	NT 512x8x576:  tile 6x8 66.3 (68 %), 14x8              77.4 (82 %)
//	TN 576x8x512:  tile 6x8 46.2 (47 %), 14x8 54.7 (58 %), A prefetched 68.3 (71 %)
//	TN 16x576x512: neither A nor B is packed               86.4 (88 %)
//	NT 512x576x8:  limited by C, 1 byte per multiply-add   50.3 (51 %)
//	others, one thread: NN 512x576x1536 86.6 (89 %), TN 576x1536x512 80 (80 %),
//	NN 1024^3 86.0 (88 %), NT 1x1536x576 11.5 = 23 GB/s of B
//
// Packing frozen weights only once does not pay on AVX2: packing takes 1.1 % (NT) and 1.5 % (NN)
// of a multiplication's time at m=512, n=1536, k=576, and 1.0 % and 0.8 % at n=576, k=1536.
//
// # float32 on AVX-512
//
// Floor: 64 FLOP per cycle. Frozen weights are packed once (packed.go), and a LoRA branch is
// computed in the same pass over A and C. The kernels are proved by an interpreter of the
// assembly (kernels/simd/asmtest) and by running; their bits are those of AVX2. On 2 cores of an
// Ice Lake Xeon at 2.8 GHz with other work on it, 2026-11-30, GFLOP/s of one thread by processor
// time, best of nine; multiply-adds in registers reach 172, the tile alone 152:
//
//	                 first  C prefetched row by row,  B packed once, the next
//	                        more rows per block       panel prefetched
//	NT 512x1536x576  105    120                       137
//	NN 512x576x1536  105    110                       130
//	NT 512x576x576   103    119                       135
//	NT 512x49152x576 100    117                       134
//
// A not packed: 139, 137, 119; packed in the same run: 136, 128, 112.
//
// LoRA steps there (SmolLM2-135M's shape, r = 16, 512 tokens), in tokens/s of three alternating
// runs: first 206, 180, 163; B packed once 221, 183, 210; A not packed as well 190, 224, 232.
// The floor is 275 GFLOP: 0.80 s at the peak of 344 GFLOP/s of two cores. Shares of processor
// time (pprof): first tiles 68 %, packing B 9.6, copying A 6.8; with B packed once tiles 75,
// copying A 4, packing for the head 3, LoRA's gradients 3, attention with its products 8, the
// gate 4, norms 2, waiting threads 4.
//
// On two cores of a Zen 4 at 3.7 GHz, 2026-11-30, two threads, packed B, best of short runs in
// GFLOP/s: first, with threads that spin while they wait (driver/cpu), and with rows divided for
// the busiest thread. Multiply-adds in registers reach 234 in float32 and 470 in bf16:
//
//	                 float32        bf16 on AVX512-BF16
//	NT 512x1536x576  212, 224, 230  442, 463, 463
//	NN 512x576x1536  217, 225, 229  393, 409, 465
//	NT 512x192x576   203, 226, 230  341, 349, 464
//	NT 512x49152x576 223, 225, 219  410, 420, 416; with C and the next panels prefetched 441
//
// The tiles alone reach 99 % of the peak there: the rest of a step's time is around them.
//
// # bf16 on a host (bf16_cpu.go)
//
// Floor: 512 multiply-adds per cycle on AMX, 64 on AVX512-BF16. On 2 shared cores of a Sapphire
// Rapids with AMX, 2026-11-29, best of many short runs with other work on both cores, GFLOP/s
// with one thread and with two; packed is RunPanels:
//
//	NT 512x1536x576   1026, 1799; packed 1100
//	NT 512x576x576    1096, 1008; packed 1235, 1547
//	NT 512x192x576    1362, 1022; packed 1617, 1332
//	NN 512x576x1536    868,  679; packed  948,  849
//	TN 16x1536x512     237; TN 1536x16x512, computed as its transpose, 175
//
// Shares of a LoRA step's processor time there (SmolLM2-135M's shape, r = 16, 512 tokens, bf16,
// pprof): tiles 36 %, converting operands 12, packing 12, float32 attention 5; then, with
// columns divided first and frozen weights packed once, packing 9, for the head, adapters and
// activations. Waiting threads took 43 % until driver/cpu stopped reading the clock, and almost
// nothing since.
package gemm

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Transpose says how A and B are stored.
type Transpose uint8

const (
	NN Transpose = iota // A[m,k] B[k,n]
	NT                  // A[m,k] B[n,k]
	TN                  // A[k,m] B[k,n]
)

// String returns the name of the constant.
func (t Transpose) String() string {
	if t > TN {
		return fmt.Sprintf("Transpose(%d)", uint8(t))
	}
	return [...]string{"NN", "NT", "TN"}[t]
}

// The texts of panics, which are programmer errors.
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

// Run computes C = alpha op(A) op(B) + beta C in float32 on dev.
func Run(dev driver.Device, tr Transpose, alpha float32, a, b F32, beta float32, c F32) {
	k := depth(tr, a, b, beta, c)
	dispatch.Run(dev, "gemm.Run", func(d *cpu.Device) {
		p := newProblem(tr, k, alpha, a.Data.Host(), a.Ld, b.Data.Host(), b.Ld, beta, c)
		p.run(d)
	}, func(d driver.Launcher) {
		runPTX(d, tr, k, alpha, a, b, beta, c)
	})
}

// Host is Run on host memory, on the calling goroutine only. It is for kernels that multiply
// inside their own parallel loops.
func Host(tr Transpose, alpha float32, a, b F32, beta float32, c F32) {
	k := depth(tr, a, b, beta, c)
	p := newProblem(tr, k, alpha, a.Data.Host(), a.Ld, b.Data.Host(), b.Ld, beta, c)
	p.multiply(0, c.Rows, 0, c.Cols)
}
