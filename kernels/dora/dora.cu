// DoRA's scales of output columns: dora.go says what is computed. Sums are float64 over
// fixed trees: no atomics.
//
// dora_row_squares: a block of 256 threads owns a row of W; once for each adapter.
// dora_scales: a thread owns an output; r is small.
// dora_scale: a thread owns an element.
// dora_magnitude: a block owns 32 outputs, each of its 8 warps every eighth row.
//
// Floor: the activations read and written once at the memory's bandwidth. Not measured
// on a GPU.
// v1  neighbouring threads read neighbouring floats
#include "../dev/warp.cuh"

KERNEL __launch_bounds__(256) dora_row_squares(const float* w, float* squares, int cols) {
  __shared__ double part[8];
  const float* row = w + (i64)blockIdx.x * cols;
  double s = 0;
  for (int j = threadIdx.x; j < cols; j += 256) {
    const double x = row[j];
    s += x * x;
  }
  s = block_sum<256>(s, part);
  if (threadIdx.x == 0) squares[blockIdx.x] = (float)s;
}

KERNEL __launch_bounds__(256) dora_scales(const float* squares, const float* p, const float* b, const float* g, const float* m, float* scale, float* inverse, int out, int r,
                                          float s) {
  const int o = blockIdx.x * 256 + threadIdx.x;
  if (o >= out) return;
  const float *pr = p + (i64)o * r, *br = b + (i64)o * r;
  double cross = 0, own = 0;
  for (int k = 0; k < r; k++) {
    cross += (double)pr[k] * (double)br[k];
    double t = 0;
    for (int l = 0; l < r; l++) t += (double)g[k * r + l] * (double)br[l];
    own += (double)br[k] * t;
  }
  const double inv = 1. / __builtin_sqrt((double)squares[o] + 2. * (double)s * cross + (double)s * (double)s * own);
  inverse[o] = (float)inv;
  scale[o] = (float)((double)m[o] * inv);
}

KERNEL __launch_bounds__(256) dora_scale(const float* z, const float* scale, float* y, i64 n, int out, float beta) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= n) return;
  const float v = z[i] * scale[i % out];
  y[i] = beta == 0.f ? v : beta * y[i] + v;
}

KERNEL __launch_bounds__(256) dora_magnitude(const float* dy, const float* z, const float* inverse, float* dm, int rows, int out) {
  __shared__ double part[8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, o = blockIdx.x * 32 + lane;
  double s = 0;
  if (o < out)
    for (int t = warp; t < rows; t += 8) s += (double)dy[(i64)t * out + o] * (double)z[(i64)t * out + o];
  part[warp][lane] = s;
  __syncthreads();
  if (warp != 0 || o >= out) return;
  for (int w = 1; w < 8; w++) s += part[w][lane];
  dm[o] += (float)(s * (double)inverse[o]);
}
