// RMSNorm of values in bf16, with the addition in front of it: half.go says what is computed.
//
// A row belongs to 32 or 256 threads, and a thread to the same four elements, as in norm.cu:
// what is computed is what norm.cu computes of the widened values. A residual is added and
// rounded first, so that the norm is that of what is stored.
//
// Floor: forward 2 T d numbers of bf16, with an addition 4, backward 3, with an addition 4,
// at the memory's bandwidth. Not measured on a GPU.
// v1  rows in registers, 8-byte accesses
#include "../dev/half.cuh"
#include "../dev/warp.cuh"

constexpr int kept = 4;  // quads of a row that a thread keeps

// row_of is the row of this thread, or -1.
template <int Threads> DEV int row_of(int rows) {
  int row = Threads == 32 ? blockIdx.x * 8 + threadIdx.x / 32 : blockIdx.x;
  return row < rows ? row : -1;
}

// sum over the threads of a row.
template <int Threads> DEV float row_sum(float v, float* part) {
  return Threads == 32 ? warp_sum(v) : block_sum<256>(v, part);
}

DEV float rounded(float x) { return low_bf16(cvt_bf16x2(x, 0.f)); }

// summed is x, or bf16(x + scale·y), which is written to sum.
DEV quad summed(const u16* x, const u16* y, float scale, u16* sum, int i, int d, bool vec) {
  quad q = load4_bf16(x, i, d, vec);
  if (!y) return q;
  const quad r = load4_bf16(y, i, d, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) q.v[k] = rounded(fma(scale, r.v[k], q.v[k]));
  store4_bf16(sum, i, d, vec, q);
  return q;
}

template <int Threads>
DEV void forward(const u16* x, const u16* y, float scale, u16* sum, const float* w, float eps, u16* out, float* rstd, int rows, int d) {
  __shared__ float part[8];
  const int row = row_of<Threads>(rows);
  if (row < 0) return;  // whole warps
  const i64 from = (i64)row * d;
  x += from, out += from;
  if (y) y += from, sum += from;
  const bool vec = aligned8(x, y, sum, out), vec_w = aligned16(w);
  const int at = 4 * (threadIdx.x % Threads);
  quad q[kept];
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kept; j++) q[j] = summed(x, y, scale, sum, at + 4 * Threads * j, d, vec);
#pragma unroll
  for (int j = 0; j < kept; j++)
#pragma unroll
    for (int k = 0; k < 4; k++) squares = fma(q[j].v[k], q[j].v[k], squares);
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads) {
    const quad p = summed(x, y, scale, sum, i, d, vec);
#pragma unroll
    for (int k = 0; k < 4; k++) squares = fma(p.v[k], p.v[k], squares);
  }
  squares = row_sum<Threads>(squares, part);
  const float r = 1.f / sqrt(squares / (float)d + eps);
  if (at == 0) rstd[row] = r;
#pragma unroll
  for (int j = 0; j < kept; j++) {
    const int i = at + 4 * Threads * j;
    if (i >= d) break;
    quad g = load4(w, i, d, vec_w);
#pragma unroll
    for (int k = 0; k < 4; k++) g.v[k] *= q[j].v[k] * r;
    store4_bf16(out, i, d, vec, g);
  }
  const u16* rest = y ? sum : x;
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads) {
    const quad p = load4_bf16(rest, i, d, vec);
    quad g = load4(w, i, d, vec_w);
#pragma unroll
    for (int k = 0; k < 4; k++) g.v[k] *= p.v[k] * r;
    store4_bf16(out, i, d, vec, g);
  }
}

// One quad of g = dy w, and of x.
struct pair { quad g, x; };

DEV pair load_pair(const u16* dy, const u16* x, const float* w, int i, int d, bool vec, bool vec_w) {
  pair p{load4_bf16(dy, i, d, vec), load4_bf16(x, i, d, vec)};
  const quad q = load4(w, i, d, vec_w);
#pragma unroll
  for (int k = 0; k < 4; k++) p.g.v[k] *= q.v[k];
  return p;
}

DEV float dot(const pair& p, float sum) {
#pragma unroll
  for (int k = 0; k < 4; k++) sum = fma(p.g.v[k], p.x.v[k], sum);
  return sum;
}

// dx = r (g - c x) + add
DEV void store_dx(u16* dx, const u16* add, int i, int d, bool vec, pair p, float r, float c) {
  quad a = {};
  if (add) a = load4_bf16(add, i, d, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) p.g.v[k] = fma(fma(-c, p.x.v[k], p.g.v[k]), r, a.v[k]);
  store4_bf16(dx, i, d, vec, p.g);
}

template <int Threads>
DEV void backward(const u16* dy, const u16* x, const float* w, const float* rstd, const u16* add, u16* dx, int rows, int d) {
  __shared__ float part[8];
  const int row = row_of<Threads>(rows);
  if (row < 0) return;
  const i64 from = (i64)row * d;
  dy += from, x += from, dx += from;
  if (add) add += from;
  const bool vec = aligned8(dy, x, add, dx), vec_w = aligned16(w);
  const int at = 4 * (threadIdx.x % Threads);
  pair p[kept];
#pragma unroll
  for (int j = 0; j < kept; j++) p[j] = load_pair(dy, x, w, at + 4 * Threads * j, d, vec, vec_w);
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kept; j++) sum = dot(p[j], sum);
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads) sum = dot(load_pair(dy, x, w, i, d, vec, vec_w), sum);
  const float r = rstd[row];
  const float c = row_sum<Threads>(sum, part) / (float)d * r * r;
#pragma unroll
  for (int j = 0; j < kept; j++) {
    const int i = at + 4 * Threads * j;
    if (i < d) store_dx(dx, add, i, d, vec, p[j], r, c);
  }
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads)
    store_dx(dx, add, i, d, vec, load_pair(dy, x, w, i, d, vec, vec_w), r, c);
}

KERNEL __launch_bounds__(256) norm_half_forward_warp(const u16* x, const u16* y, float scale, u16* sum, const float* w, float eps, u16* out, float* rstd, int rows, int d) {
  forward<32>(x, y, scale, sum, w, eps, out, rstd, rows, d);
}
KERNEL __launch_bounds__(256) norm_half_forward_block(const u16* x, const u16* y, float scale, u16* sum, const float* w, float eps, u16* out, float* rstd, int rows, int d) {
  forward<256>(x, y, scale, sum, w, eps, out, rstd, rows, d);
}
KERNEL __launch_bounds__(256, 2) norm_half_backward_warp(const u16* dy, const u16* x, const float* w, const float* rstd, const u16* add, u16* dx, int rows, int d) {
  backward<32>(dy, x, w, rstd, add, dx, rows, d);
}
KERNEL __launch_bounds__(256, 3) norm_half_backward_block(const u16* dy, const u16* x, const float* w, const float* rstd, const u16* add, u16* dx, int rows, int d) {
  backward<256>(dy, x, w, rstd, add, dx, rows, d);
}

constexpr int rows_of_sum = 32;

// As norm_weight_partial, whose sums norm_weight_sum adds up.
KERNEL __launch_bounds__(128) norm_half_weight_partial(const u16* __restrict__ dy, const u16* __restrict__ x, const float* __restrict__ rstd, float* __restrict__ partial, int rows, int d) {
  const int j = blockIdx.x * 128 + threadIdx.x;
  if (j >= d) return;
  const int first = blockIdx.y * rows_of_sum, last = min(rows, first + rows_of_sum);
  float sum = 0;
#pragma unroll 8
  for (int t = first; t < last; t++) {
    const i64 at = (i64)t * d + j;
    sum = fma(as_float((u32)dy[at] << 16) * as_float((u32)x[at] << 16), rstd[t], sum);
  }
  partial[(i64)blockIdx.y * d + j] = sum;
}
