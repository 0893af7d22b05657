// RMSNorm, forward and backward: norm.go defines it.
//
// A row belongs to 32 threads (d <= 1024, eight rows a block) or to 256 (one row a
// block). Thread t of a row owns quads t, t + threads, …: the order of a row's sum
// depends on d alone. The first four quads of a thread stay in registers between the
// sum and the use, longer rows are read again from the first-level cache.
// Roots and quotients are correctly rounded; the sum is a float32 tree.
//
// norm_weight_partial adds 32 rows of one column in float32 and leaves the sums in
// partial [T/32, d]; norm_weight_sum adds those in float64, in their order, to dw.
//
// Floor: forward 2 T d floats, backward 3 T d (and 2 T d with dw), at the memory's
// bandwidth. Not measured on a GPU.
// v1  rows in registers, 16-byte accesses: forward 43 and 48 registers, 5 blocks a
//     multiprocessor, backward 77 and 86, 3 and 2; no spills. Minimal bytes, full sectors
//     (interpreter)
#include "../dev/quad.cuh"
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

template <int Threads>
DEV void forward(const float* x, const float* w, float eps, float* y, float* rstd, int rows, int d) {
  __shared__ float part[8];
  int row = row_of<Threads>(rows);
  if (row < 0) return;  // whole warps
  x += (i64)row * d, y += (i64)row * d;
  const bool vec = aligned16(x, w, y);
  const int at = 4 * (threadIdx.x % Threads);
  quad q[kept];
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kept; j++) q[j] = load4(x, at + 4 * Threads * j, d, vec);
#pragma unroll
  for (int j = 0; j < kept; j++)
#pragma unroll
    for (int k = 0; k < 4; k++) sum = fma(q[j].v[k], q[j].v[k], sum);
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads) {
    quad p = load4(x, i, d, vec);
#pragma unroll
    for (int k = 0; k < 4; k++) sum = fma(p.v[k], p.v[k], sum);
  }
  sum = row_sum<Threads>(sum, part);
  const float r = 1.f / sqrt(sum / (float)d + eps);
  if (at == 0) rstd[row] = r;
#pragma unroll
  for (int j = 0; j < kept; j++) {
    int i = at + 4 * Threads * j;
    if (i >= d) break;
    quad g = load4(w, i, d, vec);
#pragma unroll
    for (int k = 0; k < 4; k++) g.v[k] *= q[j].v[k] * r;
    store4(y, i, d, vec, g);
  }
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads) {
    quad p = load4(x, i, d, vec), g = load4(w, i, d, vec);
#pragma unroll
    for (int k = 0; k < 4; k++) g.v[k] *= p.v[k] * r;
    store4(y, i, d, vec, g);
  }
}

// One quad of g = dy w, and of x.
struct pair { quad g, x; };

DEV pair load_pair(const float* dy, const float* x, const float* w, int i, int d, bool vec) {
  pair p{load4(dy, i, d, vec), load4(x, i, d, vec)};
  quad q = load4(w, i, d, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) p.g.v[k] *= q.v[k];
  return p;
}

DEV float dot(const pair& p, float sum) {
#pragma unroll
  for (int k = 0; k < 4; k++) sum = fma(p.g.v[k], p.x.v[k], sum);
  return sum;
}

// dx = r (g - c x)
DEV void store_dx(float* dx, int i, int d, bool vec, pair p, float r, float c) {
#pragma unroll
  for (int k = 0; k < 4; k++) p.g.v[k] = fma(-c, p.x.v[k], p.g.v[k]) * r;
  store4(dx, i, d, vec, p.g);
}

template <int Threads>
DEV void backward(const float* dy, const float* x, const float* w, const float* rstd, float* dx, int rows, int d) {
  __shared__ float part[8];
  int row = row_of<Threads>(rows);
  if (row < 0) return;
  dy += (i64)row * d, x += (i64)row * d, dx += (i64)row * d;
  const bool vec = aligned16(dy, x, w, dx);
  const int at = 4 * (threadIdx.x % Threads);
  pair p[kept];
#pragma unroll
  for (int j = 0; j < kept; j++) p[j] = load_pair(dy, x, w, at + 4 * Threads * j, d, vec);
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kept; j++) sum = dot(p[j], sum);
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads) sum = dot(load_pair(dy, x, w, i, d, vec), sum);
  const float r = rstd[row];
  const float c = row_sum<Threads>(sum, part) / (float)d * r * r;
#pragma unroll
  for (int j = 0; j < kept; j++) {
    int i = at + 4 * Threads * j;
    if (i < d) store_dx(dx, i, d, vec, p[j], r, c);
  }
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads)
    store_dx(dx, i, d, vec, load_pair(dy, x, w, i, d, vec), r, c);
}

KERNEL __launch_bounds__(256) norm_forward_warp(const float* x, const float* w, float eps, float* y, float* rstd, int rows, int d) {
  forward<32>(x, w, eps, y, rstd, rows, d);
}
KERNEL __launch_bounds__(256) norm_forward_block(const float* x, const float* w, float eps, float* y, float* rstd, int rows, int d) {
  forward<256>(x, w, eps, y, rstd, rows, d);
}
KERNEL __launch_bounds__(256, 2) norm_backward_warp(const float* dy, const float* x, const float* w, const float* rstd, float* dx, int rows, int d) {
  backward<32>(dy, x, w, rstd, dx, rows, d);
}
KERNEL __launch_bounds__(256, 3) norm_backward_block(const float* dy, const float* x, const float* w, const float* rstd, float* dx, int rows, int d) {
  backward<256>(dy, x, w, rstd, dx, rows, d);
}

constexpr int rows_of_sum = 32;

KERNEL __launch_bounds__(128) norm_weight_partial(const float* __restrict__ dy, const float* __restrict__ x, const float* __restrict__ rstd, float* __restrict__ partial, int rows, int d) {
  const int j = blockIdx.x * 128 + threadIdx.x;
  if (j >= d) return;
  const int first = blockIdx.y * rows_of_sum, last = min(rows, first + rows_of_sum);
  float sum = 0;
#pragma unroll 8
  for (int t = first; t < last; t++) sum = fma(dy[(i64)t * d + j] * x[(i64)t * d + j], rstd[t], sum);
  partial[(i64)blockIdx.y * d + j] = sum;
}

KERNEL __launch_bounds__(128) norm_weight_sum(const float* __restrict__ partial, float* dw, int parts, int d) {
  const int j = blockIdx.x * 128 + threadIdx.x;
  if (j >= d) return;
  double sum = 0;
#pragma unroll 8
  for (int b = 0; b < parts; b++) sum += partial[(i64)b * d + j];
  dw[j] += (float)sum;
}
