// A causal convolution of every channel by itself: shortconv.go says what is computed.
//
// A thread owns a channel of some rows; neighbours in a warp are neighbours in memory. The
// taps of a channel and the rows before the one that is computed come from the first-level
// cache. bounds [T, 2] is where a row's segment begins and ends.
//
// The gradients of w and bias: shortconv_weight_partial adds part_rows rows of a channel in
// float32 and leaves the sums in partial [parts, K + 1, C], the bias's last;
// shortconv_weight_sum adds those in float64, in their order, to dw and db.
//
// Floor: forward 2 T C floats moved, backward 4 T C (6 T C with silu), and 2 T C with dw.
// Not measured on a GPU.
// v1  eight rows a thread
#include "../dev/math.cuh"

constexpr int rows_each = 8, part_rows = 32;

struct conv {
  const float *x, *w, *bias;  // bias null: nothing is added
  const int* bounds;
  int rows, channels, width, silu;
};

// value is z of a row from before silu.
DEV float value(const conv& v, int row, int c, int first) {
  float z = v.bias ? v.bias[c] : 0.f;
  for (int j = 0; j < v.width; j++) {
    const int at = row - v.width + 1 + j;
    if (at >= first) z = fma(v.w[(i64)c * v.width + j], v.x[(i64)at * v.channels + c], z);
  }
  return z;
}

KERNEL __launch_bounds__(128) shortconv_forward(conv v, float* out) {
  const int c = blockIdx.x * 128 + threadIdx.x;
  if (c >= v.channels) return;
  for (int r = 0; r < rows_each; r++) {
    const int row = blockIdx.y * rows_each + r;
    if (row >= v.rows) break;
    const float z = value(v, row, c, v.bounds[2 * row]);
    out[(i64)row * v.channels + c] = v.silu ? z * sigmoid(z) : z;
  }
}

// shortconv_slope is dz, where silu stands between it and dout.
KERNEL __launch_bounds__(128) shortconv_slope(conv v, const float* dout, float* dz) {
  const int c = blockIdx.x * 128 + threadIdx.x;
  if (c >= v.channels) return;
  for (int r = 0; r < rows_each; r++) {
    const int row = blockIdx.y * rows_each + r;
    if (row >= v.rows) break;
    const float z = value(v, row, c, v.bounds[2 * row]), s = sigmoid(z);
    dz[(i64)row * v.channels + c] = dout[(i64)row * v.channels + c] * s * (1.f + z * sigmoid(-z));
  }
}

KERNEL __launch_bounds__(128) shortconv_input(conv v, const float* dz, float* dx) {
  const int c = blockIdx.x * 128 + threadIdx.x;
  if (c >= v.channels) return;
  for (int r = 0; r < rows_each; r++) {
    const int row = blockIdx.y * rows_each + r;
    if (row >= v.rows) break;
    const int end = v.bounds[2 * row + 1];
    float sum = 0;
    for (int j = v.width - 1; j >= 0; j--) {
      const int at = row + v.width - 1 - j;
      if (at < end) sum = fma(v.w[(i64)c * v.width + j], dz[(i64)at * v.channels + c], sum);
    }
    dx[(i64)row * v.channels + c] = sum;
  }
}

KERNEL __launch_bounds__(128) shortconv_weight_partial(conv v, const float* dz, float* partial) {
  const int c = blockIdx.x * 128 + threadIdx.x, lo = blockIdx.y * part_rows, hi = min(v.rows, lo + part_rows);
  if (c >= v.channels) return;
  for (int j = 0; j <= v.width; j++) {
    float sum = 0;
    for (int row = lo; row < hi; row++) {
      const int at = row - v.width + 1 + j;
      const float d = dz[(i64)row * v.channels + c];
      if (j == v.width) sum += d;
      else if (at >= v.bounds[2 * row]) sum = fma(d, v.x[(i64)at * v.channels + c], sum);
    }
    partial[((i64)blockIdx.y * (v.width + 1) + j) * v.channels + c] = sum;
  }
}

KERNEL __launch_bounds__(128) shortconv_weight_sum(const float* partial, float* dw, float* db, int parts, int channels, int width) {
  const int c = blockIdx.x * 128 + threadIdx.x, j = blockIdx.y;
  if (c >= channels) return;
  float* to = j == width ? db + c : dw + (i64)c * width + j;
  if (j == width ? !db : !dw) return;
  double sum = 0;
  for (int p = 0; p < parts; p++) sum += partial[((i64)p * (width + 1) + j) * channels + c];
  *to += (float)sum;
}

// sequences of a cache: ends [n + 1] are the segments, slots [n] their places in tails.
struct kept {
  const float* x;
  const int *slots, *segments;
  float* tails;
  int channels, width;
};

KERNEL __launch_bounds__(128) shortconv_keep(kept v) {
  const int c = blockIdx.x * 128 + threadIdx.x, i = blockIdx.y, tail = v.width - 1;
  if (c >= v.channels) return;
  for (int j = 0; j < tail; j++) {
    const int at = v.segments[i + 1] - tail + j;
    v.tails[((i64)v.slots[i] * tail + j) * v.channels + c] = at >= v.segments[i] ? v.x[(i64)at * v.channels + c] : 0.f;
  }
}

KERNEL __launch_bounds__(128) shortconv_step(kept v, const float* w, const float* bias, float* out, int silu) {
  const int c = blockIdx.x * 128 + threadIdx.x, i = blockIdx.y, tail = v.width - 1;
  if (c >= v.channels) return;
  float* rows = v.tails + (i64)v.slots[i] * tail * v.channels + c;
  float z = bias ? bias[c] : 0.f;
  const float x = v.x[(i64)i * v.channels + c];
  for (int j = 0; j < tail; j++) {
    z = fma(w[(i64)c * v.width + j], rows[(i64)j * v.channels], z);
    rows[(i64)j * v.channels] = j + 1 < tail ? rows[(i64)(j + 1) * v.channels] : x;
  }
  z = fma(w[(i64)c * v.width + tail], x, z);
  out[(i64)i * v.channels + c] = silu ? z * sigmoid(z) : z;
}
