// C[m,n] = alpha op(A) op(B) + beta C in float32 by fused multiply-adds: gemm.go defines
// A and B. They need no alignment.
//
// A block of 256 threads computes a tile of C; slices of 16 steps of k are in shared
// memory, step by step ([k][i]), the next slice being copied (cp.async, zeros beyond
// the edges) while this one is multiplied. A warp's lanes are 4 x 8; each owns quads of
// rows and of columns 16 and 32 apart, so that a step is read in full wavefronts and C
// is written in full sectors where its rows are aligned.
//
// Order of a sum: k ascending, one accumulator, whatever the tile: a row has the same
// bits alone or in a batch. TN, whose k is the tokens, is summed in chunks of 512,
// which are then added to C in order: by one launch after another, or, where C is too
// small to fill the device, by blocks for every chunk, which leave it in partial.
//
// Tiles: 128x128 (8x8 a thread), 64x64, 128x32 and 32x128 (4x4) for ranks.
//
// Floor: 2 m n k FLOP; 128 multiply-adds a cycle a multiprocessor. Not measured on a GPU.
// v1  4-byte asynchronous copies, two slices. 128x128: 125 to 128 registers, 33 KiB, no
//     spills, 2 blocks a multiprocessor, 256 FFMA in a loop of 277 instructions; smaller
//     tiles: 74 to 80 registers, 3 blocks. No bank conflicts, full sectors (interpreter).
#include "tile.cuh"

// whole is a tile over all of k.
template <int Tr, int Bm, int Bn, int Wm, int Wn> DEV void whole(const problem& p) {
  multiply<Tr, Bm, Bn, Wm, Wn>(p, 0, p.k, blockIdx.y * Bm, blockIdx.x * Bn);
}

// chunk is a tile over the chunk blockIdx.z of k, which goes to partial if there are
// several.
template <int Bm, int Bn, int Wm, int Wn> DEV void chunk(problem p) {
  const int first = blockIdx.z * p.chunk;
  if (p.partial) p.c = p.partial + (i64)blockIdx.z * p.m * p.n, p.ldc = p.n, p.alpha = 1.f, p.add = 0;
  multiply<TN, Bm, Bn, Wm, Wn>(p, first, min(p.k, first + p.chunk), blockIdx.y * Bm, blockIdx.x * Bn);
}

// clang-format off
KERNEL __launch_bounds__(256, 2) gemm_nn_128x128(problem p) { whole<NN, 128, 128, 32, 64>(p); }
KERNEL __launch_bounds__(256, 2) gemm_nt_128x128(problem p) { whole<NT, 128, 128, 32, 64>(p); }
KERNEL __launch_bounds__(256, 2) gemm_tn_128x128(problem p) { chunk<128, 128, 32, 64>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nn_64x64(problem p) { whole<NN, 64, 64, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nt_64x64(problem p) { whole<NT, 64, 64, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_tn_64x64(problem p) { chunk<64, 64, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nn_128x32(problem p) { whole<NN, 128, 32, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nt_128x32(problem p) { whole<NT, 128, 32, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_tn_128x32(problem p) { chunk<128, 32, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nn_32x128(problem p) { whole<NN, 32, 128, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nt_32x128(problem p) { whole<NT, 32, 128, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_tn_32x128(problem p) { chunk<32, 128, 16, 32>(p); }
// clang-format on

// Adds the chunks of partial to C, as the blocks of a product would have done.
KERNEL __launch_bounds__(256) gemm_add_chunks(problem p) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x, size = (i64)p.m * p.n;
  if (i >= size) return;
  float* c = p.c + i / p.n * p.ldc + i % p.n;
  const int chunks = (p.k + p.chunk - 1) / p.chunk;
  float sum = fma(p.alpha, p.partial[i], p.add ? *c : 0.f);
#pragma unroll 4
  for (int z = 1; z < chunks; z++) sum = fma(p.alpha, p.partial[z * size + i], sum);
  *c = sum;
}

// C = 0: the product of nothing.
KERNEL __launch_bounds__(256) gemm_clear(problem p) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i < (i64)p.m * p.n) p.c[i / p.n * p.ldc + i % p.n] = 0;
}
