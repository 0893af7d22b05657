// tile.cuh: one block's tile of a float32 product, as gemm.cu describes it; gradproj forms
// its gradients with it.
#pragma once
#include "../dev/async.cuh"
#include "../dev/math.cuh"
#include "../dev/quad.cuh"

struct problem {
  const float* a;
  const float* b;
  float* c;
  float* partial;  // gemm.cu: [chunks, m, n], or null
  int m, n, k, lda, ldb, ldc, chunk;
  float alpha;
  int add;  // beta
};

constexpr int slice = 16;  // steps of k
constexpr int pad = 4;     // floats between steps: transposing stores have no bank conflicts

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

  // load copies the next slice, of which `steps` exist, to dst [16][Rows+pad]; what
  // does not exist is zero.
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
  DEV_METHOD void store(float*) {}
};

// store writes a thread's sums to C.
template <int Qm, int Qn> DEV void store(const problem& p, int row, int column, const float (&acc)[4 * Qm][4 * Qn]) {
  const i64 ld = p.ldc;
  float* c = p.c + row * ld + column;
  const bool vec = aligned16(c, ld * 4);
#pragma unroll
  for (int i = 0; i < 4 * Qm; i++) {
    int room = p.n - column;
    asm volatile("" : "+r"(room));  // or all comparisons with it are kept in registers
    if (row + 16 * (i / 4) + i % 4 < p.m) {
#pragma unroll
      for (int j = 0; j < Qn; j++) {
        quad q{};
        if (p.add) q = load4(c, 32 * j, room, vec);
#pragma unroll
        for (int l = 0; l < 4; l++) q.v[l] = fma(p.alpha, acc[i][4 * j + l], q.v[l]);
        store4(c, 32 * j, room, vec, q);
      }
    }
    c += i % 4 == 3 ? 13 * ld : ld;
  }
}

// multiply computes the tile of C at row i0 and column j0 from steps first … end-1 of k. Wm x Wn is a
// warp's tile: multiples of 16 and 32. b reads slices of op(B), from step first and column j0
// on: load starts the reads of a slice before the products of the previous one; store, after
// them, writes to shared memory what load has read to registers.
template <int Tr, int Bm, int Bn, int Wm, int Wn, class B> DEV void multiply(const problem& p, int first, int end, int i0, int j0, B b) {
  constexpr int Qm = Wm / 16, Qn = Wn / 32;
  __shared__ __align__(16) float as[2][slice * (Bm + pad)];
  __shared__ __align__(16) float bs[2][slice * (Bn + pad)];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int mi = warp % (Bm / Wm) * Wm + lane / 8 * 4, ni = warp / (Bm / Wm) * Wn + lane % 8 * 4;

  float acc[4 * Qm][4 * Qn];
#pragma unroll
  for (int i = 0; i < 4 * Qm; i++)
#pragma unroll
    for (int j = 0; j < 4 * Qn; j++) acc[i][j] = 0;

  operand<Bm, Tr != TN> a(p.a, p.lda, i0, p.m, first);
  auto fetch = [&](int s, int k0) {
    a.load(shared_address(as[s]), end - k0);
    b.load(shared_address(bs[s]), end - k0);
    cp_async_commit();
  };
  if (first < end) {
    fetch(0, first);
    b.store(bs[0]);
  }
  for (int k0 = first, s = 0; k0 < end; k0 += slice, s ^= 1) {
    cp_async_wait<0>();
    __syncthreads();
    const bool more = k0 + slice < end;
    if (more) fetch(s ^ 1, k0 + slice);
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
    if (more) b.store(bs[s ^ 1]);
  }
  store<Qm, Qn>(p, i0 + mi, j0 + ni, acc);
}

// The same with B in memory.
template <int Tr, int Bm, int Bn, int Wm, int Wn> DEV void multiply(const problem& p, int first, int end, int i0, int j0) {
  multiply<Tr, Bm, Bn, Wm, Wn>(p, first, end, i0, j0, operand<Bn, Tr == NT>(p.b, p.ldb, j0, p.n, first));
}
