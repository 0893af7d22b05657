// LayerNorm, forward and backward: layer.go defines it.
//
// Rows belong to threads as in norm.cu. A row is summed twice, for its mean and then for
// the squares of what is left: one pass over sums and squares would cancel the digits of
// rows whose mean is large. Weights and biases that are not there are null.
//
// norm_layer_partial adds 32 rows of one column in float32, times n for the weight and
// as they are for the bias, and leaves the sums in partial [2, T/32, d]; norm_weight_sum
// of norm.cu adds those to dw and db.
//
// Floor: forward 2 T d floats, backward 3 T d (and 2 T d with dw or db), at the memory's
// bandwidth. Not measured on a GPU.
// v1  rows in registers, 16-byte accesses
#include "../dev/quad.cuh"
#include "../dev/warp.cuh"

constexpr int kept = 4;  // quads of a row that a thread keeps

// row_of is the row of this thread, or -1.
template <int Threads> DEV int row_of(int rows) {
  int row = Threads == 32 ? blockIdx.x * 8 + threadIdx.x / 32 : blockIdx.x;
  return row < rows ? row : -1;
}

// row_mean is the sum over the threads of a row, over d.
template <int Threads> DEV float row_mean(float v, float* part, int d) {
  return (Threads == 32 ? warp_sum(v) : block_sum<256>(v, part)) / (float)d;
}

// squares adds (q - mean)^2 of those elements that the row has.
DEV float squares(const quad& q, float mean, int i, int d, float sum) {
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const float c = i + k < d ? q.v[k] - mean : 0.f;
    sum = fma(c, c, sum);
  }
  return sum;
}

DEV float total(const quad& q, float sum) {
#pragma unroll
  for (int k = 0; k < 4; k++) sum += q.v[k];
  return sum;
}

// y = (x - mean) r w + b
DEV void store_y(float* y, const float* w, const float* b, int i, int d, bool vec, quad q, float mean, float r) {
#pragma unroll
  for (int k = 0; k < 4; k++) q.v[k] = (q.v[k] - mean) * r;
  if (w) {
    quad g = load4(w, i, d, vec);
#pragma unroll
    for (int k = 0; k < 4; k++) q.v[k] *= g.v[k];
  }
  if (b) {
    quad g = load4(b, i, d, vec);
#pragma unroll
    for (int k = 0; k < 4; k++) q.v[k] += g.v[k];
  }
  store4(y, i, d, vec, q);
}

template <int Threads>
DEV void forward(const float* x, const float* w, const float* b, float eps, float* y, float* moments, int rows, int groups, int d) {
  __shared__ float part[8];
  int row = row_of<Threads>(rows);
  if (row < 0) return;  // whole warps
  x += (i64)row * d, y += (i64)row * d;
  if (w) w += (i64)(row % groups) * d;
  if (b) b += (i64)(row % groups) * d;
  const bool vec = aligned16(x, w, b, y);
  const int at = 4 * (threadIdx.x % Threads);
  quad q[kept];
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kept; j++) q[j] = load4(x, at + 4 * Threads * j, d, vec);
#pragma unroll
  for (int j = 0; j < kept; j++) sum = total(q[j], sum);
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads) sum = total(load4(x, i, d, vec), sum);
  const float mean = row_mean<Threads>(sum, part, d);
  sum = 0;
#pragma unroll
  for (int j = 0; j < kept; j++) sum = squares(q[j], mean, at + 4 * Threads * j, d, sum);
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads) sum = squares(load4(x, i, d, vec), mean, i, d, sum);
  const float r = 1.f / sqrt(row_mean<Threads>(sum, part, d) + eps);
  if (at == 0) moments[2 * (i64)row] = mean, moments[2 * (i64)row + 1] = r;
#pragma unroll
  for (int j = 0; j < kept; j++) {
    int i = at + 4 * Threads * j;
    if (i < d) store_y(y, w, b, i, d, vec, q[j], mean, r);
  }
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads) store_y(y, w, b, i, d, vec, load4(x, i, d, vec), mean, r);
}

// One quad of g = dy w, and of x.
struct pair { quad g, x; };

DEV pair load_pair(const float* dy, const float* x, const float* w, int i, int d, bool vec) {
  pair p{load4(dy, i, d, vec), load4(x, i, d, vec)};
  if (w) {
    quad q = load4(w, i, d, vec);
#pragma unroll
    for (int k = 0; k < 4; k++) p.g.v[k] *= q.v[k];
  }
  return p;
}

// dot adds g n: nothing beyond the row, where g is 0.
DEV float dot(const pair& p, float mean, float r, float sum) {
#pragma unroll
  for (int k = 0; k < 4; k++) sum = fma(p.g.v[k], (p.x.v[k] - mean) * r, sum);
  return sum;
}

// dx = r (g - level - n slope)
DEV void store_dx(float* dx, int i, int d, bool vec, pair p, float mean, float r, float level, float slope) {
#pragma unroll
  for (int k = 0; k < 4; k++) p.g.v[k] = r * (p.g.v[k] - level - (p.x.v[k] - mean) * r * slope);
  store4(dx, i, d, vec, p.g);
}

template <int Threads>
DEV void backward(const float* dy, const float* x, const float* w, const float* moments, float* dx, int rows, int groups, int d) {
  __shared__ float part[8];
  int row = row_of<Threads>(rows);
  if (row < 0) return;
  dy += (i64)row * d, x += (i64)row * d, dx += (i64)row * d;
  if (w) w += (i64)(row % groups) * d;
  const bool vec = aligned16(dy, x, w, dx);
  const int at = 4 * (threadIdx.x % Threads);
  const float mean = moments[2 * (i64)row], r = moments[2 * (i64)row + 1];
  pair p[kept];
#pragma unroll
  for (int j = 0; j < kept; j++) p[j] = load_pair(dy, x, w, at + 4 * Threads * j, d, vec);
  float sum = 0, product = 0;
#pragma unroll
  for (int j = 0; j < kept; j++) sum = total(p[j].g, sum), product = dot(p[j], mean, r, product);
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads) {
    pair q = load_pair(dy, x, w, i, d, vec);
    sum = total(q.g, sum), product = dot(q, mean, r, product);
  }
  const float level = row_mean<Threads>(sum, part, d), slope = row_mean<Threads>(product, part, d);
#pragma unroll
  for (int j = 0; j < kept; j++) {
    int i = at + 4 * Threads * j;
    if (i < d) store_dx(dx, i, d, vec, p[j], mean, r, level, slope);
  }
  for (int i = at + 4 * Threads * kept; i < d; i += 4 * Threads)
    store_dx(dx, i, d, vec, load_pair(dy, x, w, i, d, vec), mean, r, level, slope);
}

KERNEL __launch_bounds__(256) norm_layer_forward_warp(const float* x, const float* w, const float* b, float eps, float* y, float* moments, int rows, int groups, int d) {
  forward<32>(x, w, b, eps, y, moments, rows, groups, d);
}
KERNEL __launch_bounds__(256) norm_layer_forward_block(const float* x, const float* w, const float* b, float eps, float* y, float* moments, int rows, int groups, int d) {
  forward<256>(x, w, b, eps, y, moments, rows, groups, d);
}
KERNEL __launch_bounds__(256, 2) norm_layer_backward_warp(const float* dy, const float* x, const float* w, const float* moments, float* dx, int rows, int groups, int d) {
  backward<32>(dy, x, w, moments, dx, rows, groups, d);
}
KERNEL __launch_bounds__(256, 2) norm_layer_backward_block(const float* dy, const float* x, const float* w, const float* moments, float* dx, int rows, int groups, int d) {
  backward<256>(dy, x, w, moments, dx, rows, groups, d);
}

constexpr int rows_of_sum = 32;

// Here a row is that of all groups: rows of them, columns of groups*d elements.
KERNEL __launch_bounds__(128) norm_layer_partial(const float* __restrict__ dy, const float* __restrict__ x, const float* __restrict__ moments, float* __restrict__ partial, int rows, int groups, int d) {
  const int columns = groups * d, j = blockIdx.x * 128 + threadIdx.x;
  if (j >= columns) return;
  const int first = blockIdx.y * rows_of_sum, last = min(rows, first + rows_of_sum), group = j / d;
  float weight = 0, bias = 0;
#pragma unroll 4
  for (int t = first; t < last; t++) {
    const i64 row = (i64)t * groups + group;
    const float g = dy[(i64)t * columns + j];
    weight = fma(g, (x[(i64)t * columns + j] - moments[2 * row]) * moments[2 * row + 1], weight);
    bias += g;
  }
  partial[(i64)blockIdx.y * columns + j] = weight;
  partial[((i64)gridDim.y + blockIdx.y) * columns + j] = bias;
}
