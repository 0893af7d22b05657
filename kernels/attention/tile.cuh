// tile.cuh: what the attention kernels share. A block of 128 threads owns 64 rows of
// one head (queries, or keys in the gradient of k and v), 16 a warp, and walks over
// tiles of Bn rows of the other side.
//
// Tiles of q, k, v and do lie in shared memory as they lie in global memory, rows of
// D floats padded to D+4 so that eight rows start in different banks.
//
// Two kinds of products, on lanes (r, c) = (lane/8, lane%8):
//   scores  [16, Bn] of a warp: contraction over D, four at a time. A thread has rows
//           r + 4i and columns c + 8j.
//   sums    [16, D] of a warp: contraction over the tile's rows. A thread has the same
//           rows, and columns 4c + 32j + l. The left operand goes through `exchange`,
//           [Bn][64] floats: the rows of a thread are one quad of it, whose place is
//           mixed with the column (xor) so that no bank is met twice.
#pragma once
#include "../dev/async.cuh"
#include "../dev/quad.cuh"
#include "../dev/warp.cuh"

constexpr int threads = 128, block_rows = 64;

extern __shared__ __align__(16) float memory[];

struct arguments {
  const float *q, *k, *v, *o, *lse, *d_o, *delta;
  float *out, *out_lse, *dq, *dk, *dv;
  const int* units;  // [n][4]: first and last+1 token of the segment, first row of the block, its place
  int tokens, heads, kv_heads, head_dim, window, vec;
  float scale, cap;
};

struct unit { int lo, hi, first; };

DEV unit unit_of(const arguments& p) {
  const int* u = p.units + 4 * blockIdx.x;
  return {u[0], u[1], u[2]};
}

// load_rows copies Rows rows of one head, from token `first` on, to dst [Rows][D+4]:
// zeros beyond token `end` and beyond head_dim. src is the head's first float.
template <int Rows, int D> DEV void load_rows(float* dst, const float* src, i64 ld, int first, int end, const arguments& p) {
  const u32 base = shared_address(dst);
  src += first * ld;
  if (p.vec) {
    constexpr int step = threads / (D / 4);
    const int c = threadIdx.x % (D / 4) * 4, r0 = threadIdx.x / (D / 4);
#pragma unroll
    for (int r = r0, j = 0; j < Rows / step; j++, r += step)
      cp_async_16(base + 4 * (r * (D + 4) + c), src + r * ld + c, first + r < end && c < p.head_dim ? 16 : 0);
  } else {
    constexpr int step = threads / D;
    const int c = threadIdx.x % D, r0 = threadIdx.x / D;
#pragma unroll 2
    for (int r = r0, j = 0; j < Rows / step; j++, r += step)
      cp_async_4(base + 4 * (r * (D + 4) + c), src + r * ld + c, first + r < end && c < p.head_dim);
  }
}

// scores: s[i][j] = row (r + 4i) of a . row (c + 8j) of b. a is the warp's first row.
template <int D, int Unroll = 2, int N> DEV void scores(float (&s)[4][N], const float* a, const float* b) {
  const int r = threadIdx.x % 32 / 8, c = threadIdx.x % 8;
  a += r * (D + 4), b += c * (D + 4);
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < N; j++) s[i][j] = 0;
#pragma unroll Unroll
  for (int d = 0; d < D; d += 4) {
    float4 x[4], y[N];
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] = *(const float4*)(a + 4 * i * (D + 4) + d);
#pragma unroll
    for (int j = 0; j < N; j++) y[j] = *(const float4*)(b + 8 * j * (D + 4) + d);
#pragma unroll
    for (int l = 0; l < 4; l++)
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < N; j++) s[i][j] = fma(x[i][l], y[j][l], s[i][j]);
  }
}

// A quad's place in row `column` of exchange.
DEV int place(int column, int quad) { return column * block_rows + 4 * (quad ^ (column % 8)); }

// give hands the columns of a warp's scores over to add_products; only the warp that
// wrote them reads them.
template <int N> DEV void give(float* exchange, const float (&s)[4][N]) {
  const int quad = threadIdx.x / 8, c = threadIdx.x % 8;
#pragma unroll
  for (int j = 0; j < N; j++) *(float4*)(exchange + place(c + 8 * j, quad)) = float4{s[0][j], s[1][j], s[2][j], s[3][j]};
}

// add_products: sum[i][4j+l] += over columns n of exchange(n, row) * b[n][4c + 32j + l].
template <int D, int Bn, int Unroll = 4> DEV void add_products(float (&sum)[4][D / 8], const float* exchange, const float* b) {
  const int quad = threadIdx.x / 8, c = threadIdx.x % 8;
#pragma unroll Unroll
  for (int n = 0; n < Bn; n++) {
    const float4 x = *(const float4*)(exchange + place(n, quad));
    float4 y[D / 32];
#pragma unroll
    for (int j = 0; j < D / 32; j++) y[j] = *(const float4*)(b + n * (D + 4) + 4 * c + 32 * j);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < D / 8; j++) sum[i][j] = fma(x[i], y[j / 4][j % 4], sum[i][j]);
  }
}

DEV void sync_warp() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

// token_row is the block's row of this thread's i-th one.
DEV int token_row(int i) { return threadIdx.x / 32 * 16 + threadIdx.x % 32 / 8 + 4 * i; }

// store_rows writes scale * sum to the head's rows from token `first` to `end`.
template <int D> DEV void store_rows(float* dst, i64 ld, int first, int end, const float (&sum)[4][D / 8], const float (&scale)[4], const arguments& p) {
  const int c = threadIdx.x % 8;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int t = first + token_row(i);
    if (t >= end) continue;
#pragma unroll
    for (int j = 0; j < D / 32; j++) {
      quad q;
#pragma unroll
      for (int l = 0; l < 4; l++) q.v[l] = sum[i][4 * j + l] * scale[i];
      store4(dst + t * ld, 4 * c + 32 * j, p.head_dim, p.vec, q);
    }
  }
}

// sees reports whether query i attends to key j of its segment.
DEV bool sees(int i, int j, const arguments& p) { return (j <= i) & ((p.window == 0) | (i - j < p.window)); }

// score turns a product into a score; slope is the derivative of the cap.
template <bool Capped> DEV float score(float product, const arguments& p, float& slope) {
  float s = product * p.scale;
  slope = 1.f;
  if (Capped) {
    const float t = tanh(s / p.cap);
    s = p.cap * t, slope = 1.f - t * t;
  }
  return s;
}
