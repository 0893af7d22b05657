// product_bf16.cuh: one product on the tiles of tile_bf16.cuh, and how its sums are stored;
// kernels/quant decodes B for it.
#pragma once
#include "tile_bf16.cuh"

struct problem {
  const u16* a;
  const u16* b;
  float* c;
  int m, n, k, lda, ldb, ldc;
  float alpha;
  int add;
  const u16* u;  // the branch: r more steps
  const u16* l;
  int r, ldu, ldl;
};

// store writes a thread's sums to C: in pairs, unless C's rows are not aligned to 8 bytes.
DEV void store(const problem& p, const float (&acc)[4][4][4], int i0, int j0, warp_tile w) {
  const int lane = w.lane, wm = w.m, wn = w.n;
  const bool pairs = p.ldc % 2 == 0 && ((u64)p.c & 7) == 0;
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int row = i0 + wm + 16 * i + lane / 4 + 8 * h;
      if (row >= p.m) continue;
      float* c = p.c + (i64)row * p.ldc;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const int column = j0 + wn + 8 * j + lane % 4 * 2;
        if (pairs && column + 1 < p.n) {
          float2 old = {0.f, 0.f};
          if (p.add) old = *(float2*)(c + column);
          *(float2*)(c + column) = float2{fma(p.alpha, acc[i][j][2 * h], old.x), fma(p.alpha, acc[i][j][2 * h + 1], old.y)};
          continue;
        }
#pragma unroll
        for (int l = 0; l < 2; l++)
          if (column + l < p.n) c[column + l] = fma(p.alpha, acc[i][j][2 * h + l], p.add ? c[column + l] : 0.f);
      }
    }
}

// multiply computes the tile of C at row i0 and column j0, with the branch U op(L) behind A op(B).
template <int Tr, bool Branch> DEV void multiply(const problem& p, int i0, int j0) {
  __shared__ __align__(128) u8 memory[stages * 2 * operand_bytes];
  const warp_tile w;
  const int own = (p.k + slice - 1) / slice, slices = own + (Branch ? (p.r + slice - 1) / slice : 0);
  float acc[4][4][4];
  sum_slices<Tr>(acc, shared_address(memory), slices, w, [&](int s, u32 at) {
    const bool low = Branch && s >= own;
    const int k0 = (low ? s - own : s) * slice, k = low ? p.r : p.k;
    load<Tr != TN>(at, low ? p.u : p.a, low ? p.ldu : p.lda, i0, p.m, k0, k);
    load<Tr == NT>(at + operand_bytes, low ? p.l : p.b, low ? p.ldl : p.ldb, j0, p.n, k0, k);
  });
  store(p, acc, i0, j0, w);
}
