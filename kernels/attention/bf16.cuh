// bf16.cuh: what the bf16 attention kernels for mma.sync share (sm_80). A block of 128
// threads owns 64 rows of one head, 16 a warp (twice that in the forward), and walks over
// tiles of Bn rows of the other side.
//
// Tiles lie in shared memory as rows of D bf16, their 16-byte chunks mixed with the row
// so that ldmatrix meets no bank twice. A warp's scores [16, Bn] stay in registers:
// packed to bf16 they are the left operand of the next product.
//
// Fragments, with g = lane/4 and t = lane%4: of a product [16, 8n] a thread has rows g
// and g+8, columns 8j+2t and 8j+2t+1: acc[j] is (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1).
#pragma once
#include "../dev/async.cuh"
#include "../dev/half.cuh"

constexpr int threads = 128, block_rows = 64;
constexpr float log2e = 1.44269504f, ln2 = 0.693147181f;

extern __shared__ __align__(128) u8 memory[];

// As struct arguments of tile.cuh, with bf16 inputs, and outputs that are bf16 if half is set.
struct arguments {
  const u16 *q, *k, *v;
  const float *o, *lse;
  const u16* d_o;
  const float* delta;
  void* out;
  float* out_lse;
  void *dq, *dk, *dv;
  const int* units;  // [n][4]: first and last+1 token of the segment, first row of the block, its place
  int tokens, heads, kv_heads, head_dim, window, vec;
  float scale, cap;
  int half;
};

struct unit { int lo, hi, first; };

DEV unit unit_of(const arguments& p) {
  const int* u = p.units + 4 * blockIdx.x;
  return {u[0], u[1], u[2]};
}

// Good to 2 units of the last place: what they give is rounded to bf16.
DEV float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
DEV float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// tanh_approx is tanh of math.cuh without a branch, on the above.
DEV float tanh_approx(float x) {
  const float a = abs(x), s = x * x;
  float r = -0.00627260748f;
  r = fma(r, s, 0.0210702531f);
  r = fma(r, s, -0.0538518652f);
  r = fma(r, s, 0.1333258f);
  r = fma(r, s, -0.333333164f);
  const float near = fma(r * s, x, x);
  const float t = fma(-2.f, reciprocal_approx(exp2_approx(a * (2.f * log2e)) + 1.f), 1.f);
  return a < 0.55f ? near : as_float(bits(t) | (bits(x) & 0x80000000u));
}

// Where chunk c (8 elements) of row r of a tile lies.
template <int D> DEV u32 place(int r, int c) { return r * 2 * D + ((D == 32 ? c ^ (r / 2 % 4) : c ^ (r % 8)) << 4); }

template <int Rows, int D> constexpr u32 tile_bytes = Rows * D * 2;

// load_rows copies Rows rows of one head, from token `first` on, to a tile: zeros beyond
// token `end` and beyond head_dim. src is the head's first element.
template <int Rows, int D> DEV void load_rows(u32 dst, const u16* src, i64 ld, int first, int end, int head_dim) {
  constexpr int step = threads / (D / 8);
  const int c = threadIdx.x % (D / 8), r0 = threadIdx.x / (D / 8);
  src += (first + r0) * ld + 8 * c;
  dst += place<D>(r0, c);  // steps are multiples of 8 rows: they do not change the mix
  static_assert(step % 8 == 0, "a step must not change the mix");
#pragma unroll
  for (int j = 0; j < Rows / step; j++)
    cp_async_16(dst + j * step * 2 * D, src + j * step * ld, first + r0 + j * step < end && 8 * c < head_dim ? 16 : 0);
}

template <int N> DEV void zero(float (&acc)[N][4]) {
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int l = 0; l < 4; l++) acc[j][l] = 0;
}

// scores: s[r] = rows `row` + 64r … of tile a . rows of tile b, contraction over D. N
// tiles of 8 columns.
template <int D, int R, int N> DEV void scores(float (&s)[R][N][4], u32 a, int row, u32 b) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < R; r++) zero(s[r]);
#pragma unroll
  for (int k = 0; k < D / 16; k++) {
    u32 x[R][4];
#pragma unroll
    for (int r = 0; r < R; r++) ldmatrix_x4(x[r], a + place<D>(row + 64 * r + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (int j = 0; j < N / 2; j++) {
      u32 y[4];
      ldmatrix_x4(y, b + place<D>(16 * j + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
#pragma unroll
      for (int r = 0; r < R; r++) {
        mma_m16n8k16_bf16(s[r][2 * j], x[r], y[0], y[1]);
        mma_m16n8k16_bf16(s[r][2 * j + 1], x[r], y[2], y[3]);
      }
    }
  }
}

// add_products: sum[r] += s[r] . rows of a tile, contraction over the tile's 8N rows; s is
// rounded to bf16.
template <int D, int R, int N> DEV void add_products(float (&sum)[R][D / 8][4], const float (&s)[R][N][4], u32 b) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < N / 2; k++) {
    u32 x[R][4];
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int i = 0; i < 4; i++) x[r][i] = cvt_bf16x2(s[r][2 * k + i / 2][i % 2 * 2], s[r][2 * k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
    for (int j = 0; j < D / 16; j++) {
      u32 y[4];
      ldmatrix_x4_trans(y, b + place<D>(16 * k + lane % 16, 2 * j + lane / 16));
#pragma unroll
      for (int r = 0; r < R; r++) {
        mma_m16n8k16_bf16(sum[r][2 * j], x[r], y[0], y[1]);
        mma_m16n8k16_bf16(sum[r][2 * j + 1], x[r], y[2], y[3]);
      }
    }
  }
}

// The same for 16 rows a warp.
template <int N> using sixteen_rows = float[1][N][4];
template <int D, int N> DEV void scores(float (&s)[N][4], u32 a, int row, u32 b) { scores<D>((sixteen_rows<N>&)s, a, row, b); }
template <int D, int N> DEV void add_products(float (&sum)[D / 8][4], const float (&s)[N][4], u32 b) {
  add_products<D>((sixteen_rows<D / 8>&)sum, (const sixteen_rows<N>&)s, b);
}

// token_row is the block's row of this thread's row g (h = 0) or g+8 (h = 1).
DEV int token_row(int h) { return threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * h; }

// column is the tile's column of acc[j][l].
DEV int column(int j, int l) { return 8 * j + threadIdx.x % 4 * 2 + l % 2; }

// store_rows writes scale * sum to a head's rows from token `first` to `end`; `at` is the
// head's first element in dst, float32 or bf16.
template <int D> DEV void store_rows(void* dst, int half, int at, i64 ld, int first, int end, const float (&sum)[D / 8][4], float scale0, float scale1, int head_dim) {
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int t = first + token_row(h);
    const float scale = h ? scale1 : scale0;
    if (half) {
      u16* c = (u16*)dst + at + t * ld;
#pragma unroll
      for (int j = 0; j < D / 8; j += 2)
        if (8 * j < head_dim)
          store16_bf16(c + 8 * j, head_dim - 8 * j, t < end, scale * sum[j][2 * h], scale * sum[j][2 * h + 1], scale * sum[j + 1][2 * h], scale * sum[j + 1][2 * h + 1]);
      continue;
    }
    if (t >= end) continue;
    float* c = (float*)dst + at + t * ld;
#pragma unroll
    for (int j = 0; j < D / 8; j++)
      if (8 * j < head_dim) *(float2*)(c + column(j, 0)) = float2{scale * sum[j][2 * h], scale * sum[j][2 * h + 1]};
  }
}

// sees reports whether query i attends to key j of its segment.
DEV bool sees(int i, int j, int window) { return (j <= i) & ((window == 0) | (i - j < window)); }

// units of a score before exp2: products as they come, or capped scores.
template <bool Capped> DEV float unit_of_score(const arguments& p) { return Capped ? 1.f : p.scale; }

// score turns a product into a score in that unit; slope is the derivative of the cap.
template <bool Capped> DEV float score(float product, const arguments& p, float& slope) {
  slope = 1.f;
  if (!Capped) return product;
  const float t = tanh_approx(product * (p.scale / p.cap));
  slope = 1.f - t * t;
  return p.cap * t;
}
