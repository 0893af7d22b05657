// C[m,n] = alpha op(A) op(B) + beta C in float32 by fused multiply-adds: gemm.go says
// what A and B are. No alignment is asked for.
//
// A block of 256 threads computes a tile of C; slices of 16 steps of k lie in shared
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
#include "../dev/async.cuh"
#include "../dev/math.cuh"
#include "../dev/quad.cuh"

struct problem {
  const float* a;
  const float* b;
  float* c;
  float* partial;  // [chunks, m, n], or null: C is added to directly
  int m, n, k, lda, ldb, ldc, chunk;
  float alpha;
  int add;  // beta
};

constexpr int slice = 16;  // steps of k
constexpr int pad = 4;     // floats between steps: transposing stores meet no bank twice

enum { NN, NT, TN };

// operand is this thread's way through one of the matrices: of the slice's elements it
// copies (i, k), and those `rows` or `steps` further on.
template <int Rows, bool Steps> struct operand {
  const float* p;   // element (i, k) of the next slice
  i64 ld;           // floats between neighbours in memory's outer direction
  int i, k, limit;  // i counts from the tile's first row; the matrix ends at limit

  DEV_METHOD operand(const float* base, i64 ld, int i0, int rows, int k0) : ld(ld), limit(rows - i0) {
    const int t = threadIdx.x;
    i = Steps ? t / 8 : t % Rows, k = Steps ? t % 8 : t / Rows;  // 8 steps are one sector
    p = Steps ? base + (i0 + i) * ld + k0 + k : base + (k0 + k) * ld + i0 + i;
  }

  // load copies the next slice, of which `steps` exist, to dst [16][Rows+pad]: zeros
  // stand for what does not.
  DEV_METHOD void load(u32 dst, int steps) {
    const float* src = p;
    i64 step = Steps ? 32 * ld : 256 / Rows * ld;
    int room = limit - i;
    asm volatile("" : "+l"(step), "+r"(room));  // or what follows from them is kept in registers
    dst += 4 * (k * (Rows + pad) + i);
#pragma unroll
    for (int j = 0; j < Rows * slice / 256; j++) {
      if (Steps) {
        const int di = j / 2 * 32, dk = j % 2 * 8;
        cp_async_4(dst + 4 * (dk * (Rows + pad) + di), src + dk, di < room && k + dk < steps);
        if (j % 2) src += step;
      } else {
        const int dk = 256 / Rows * j;
        cp_async_4(dst + 4 * dk * (Rows + pad), src, 0 < room && k + dk < steps);
        src += step;
      }
    }
    p += Steps ? slice : slice * ld;
  }
};

// store hands a thread's sums over to C, or to its chunk of partial.
template <bool Chunks, int Qm, int Qn> DEV void store(const problem& p, int row, int column, const float (&acc)[4 * Qm][4 * Qn]) {
  const bool apart = Chunks && p.partial;
  float* c = apart ? p.partial + ((i64)blockIdx.z * p.m + row) * p.n + column : p.c + (i64)row * p.ldc + column;
  const i64 ld = apart ? p.n : p.ldc;
  const bool vec = aligned16(c, ld * 4);
  const float alpha = apart ? 1.f : p.alpha;
  const int add = apart ? 0 : p.add;
#pragma unroll
  for (int i = 0; i < 4 * Qm; i++) {
    int room = p.n - column;
    asm volatile("" : "+r"(room));  // or all comparisons with it are kept in registers
    if (row + 16 * (i / 4) + i % 4 < p.m) {
#pragma unroll
      for (int j = 0; j < Qn; j++) {
        quad q;
        if (add) q = load4(c, 32 * j, room, vec);
#pragma unroll
        for (int l = 0; l < 4; l++) q.v[l] = add ? fma(alpha, acc[i][4 * j + l], q.v[l]) : alpha * acc[i][4 * j + l];
        store4(c, 32 * j, room, vec, q);
      }
    }
    c += i % 4 == 3 ? 13 * ld : ld;
  }
}

// Wm x Wn is a warp's tile: multiples of 16 and 32.
template <int Tr, int Bm, int Bn, int Wm, int Wn> DEV void multiply(problem p) {
  constexpr int Qm = Wm / 16, Qn = Wn / 32;
  __shared__ __align__(16) float as[2][slice * (Bm + pad)];
  __shared__ __align__(16) float bs[2][slice * (Bn + pad)];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int i0 = blockIdx.y * Bm, j0 = blockIdx.x * Bn;
  const int mi = warp % (Bm / Wm) * Wm + lane / 8 * 4, ni = warp / (Bm / Wm) * Wn + lane % 8 * 4;

  const int first = Tr == TN ? blockIdx.z * p.chunk : 0, end = Tr == TN ? min(p.k, first + p.chunk) : p.k;
  float acc[4 * Qm][4 * Qn];
#pragma unroll
  for (int i = 0; i < 4 * Qm; i++)
#pragma unroll
    for (int j = 0; j < 4 * Qn; j++) acc[i][j] = 0;

  operand<Bm, Tr != TN> a(p.a, p.lda, i0, p.m, first);
  operand<Bn, Tr == NT> b(p.b, p.ldb, j0, p.n, first);
  auto fetch = [&](int s, int k0) {
    a.load(shared_address(as[s]), end - k0);
    b.load(shared_address(bs[s]), end - k0);
    cp_async_commit();
  };
  fetch(0, first);
  for (int k0 = first, s = 0; k0 < end; k0 += slice, s ^= 1) {
    cp_async_wait<0>();
    __syncthreads();
    if (k0 + slice < end) fetch(s ^ 1, k0 + slice);
#pragma unroll 4
    for (int k = 0; k < slice; k++) {
      float4 x[Qm], y[Qn];
#pragma unroll
      for (int q = 0; q < Qm; q++) x[q] = *(const float4*)&as[s][k * (Bm + pad) + mi + 16 * q];
#pragma unroll
      for (int q = 0; q < Qn; q++) y[q] = *(const float4*)&bs[s][k * (Bn + pad) + ni + 32 * q];
#pragma unroll
      for (int i = 0; i < 4 * Qm; i++)
#pragma unroll
        for (int j = 0; j < 4 * Qn; j++) acc[i][j] = fma(x[i / 4][i % 4], y[j / 4][j % 4], acc[i][j]);
    }
  }
  store<Tr == TN, Qm, Qn>(p, i0 + mi, j0 + ni, acc);
}

// clang-format off
KERNEL __launch_bounds__(256, 2) gemm_nn_128x128(problem p) { multiply<NN, 128, 128, 32, 64>(p); }
KERNEL __launch_bounds__(256, 2) gemm_nt_128x128(problem p) { multiply<NT, 128, 128, 32, 64>(p); }
KERNEL __launch_bounds__(256, 2) gemm_tn_128x128(problem p) { multiply<TN, 128, 128, 32, 64>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nn_64x64(problem p) { multiply<NN, 64, 64, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nt_64x64(problem p) { multiply<NT, 64, 64, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_tn_64x64(problem p) { multiply<TN, 64, 64, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nn_128x32(problem p) { multiply<NN, 128, 32, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nt_128x32(problem p) { multiply<NT, 128, 32, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_tn_128x32(problem p) { multiply<TN, 128, 32, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nn_32x128(problem p) { multiply<NN, 32, 128, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_nt_32x128(problem p) { multiply<NT, 32, 128, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) gemm_tn_32x128(problem p) { multiply<TN, 32, 128, 16, 32>(p); }
// clang-format on

// Adds the chunks of partial to C, as the blocks of a product would have done.
KERNEL __launch_bounds__(256) gemm_add_chunks(problem p) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x, size = (i64)p.m * p.n;
  if (i >= size) return;
  float* c = p.c + i / p.n * p.ldc + i % p.n;
  const int chunks = (p.k + p.chunk - 1) / p.chunk;
  float sum = p.add ? fma(p.alpha, p.partial[i], *c) : p.alpha * p.partial[i];
#pragma unroll 4
  for (int z = 1; z < chunks; z++) sum = fma(p.alpha, p.partial[z * size + i], sum);
  *c = sum;
}

// C = 0: the product of nothing.
KERNEL __launch_bounds__(256) gemm_clear(problem p) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i < (i64)p.m * p.n) p.c[i / p.n * p.ldc + i % p.n] = 0;
}
