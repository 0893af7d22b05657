// One row from each segment of a packed batch: pool.go defines which. The numbers are the host
// twin's, bit for bit.
//
// A thread owns four neighbouring columns of a segment and adds them up in float64, the
// segment's rows in their order.
//
// Floor: x once at the memory's bandwidth. Not measured on a GPU.
// v1  16 bytes a thread and row, four rows in flight: 44 registers, no spills, 62 % of the
//     warps; the least bytes in full sectors (interpreter)
#include "../dev/quad.cuh"

constexpr int threads = 128, flight = 4;

KERNEL __launch_bounds__(threads) pool_mean(float* out, const float* x, const int* segments, int d) {
  const bool vec = aligned16(out, x) && d % 4 == 0;
  const int at = 4 * (blockIdx.y * threads + threadIdx.x);
  const int first = segments[blockIdx.x], end = segments[blockIdx.x + 1];
  double sum[4] = {};
  for (int t0 = first; t0 < end; t0 += flight) {
    quad q[flight];
#pragma unroll
    for (int j = 0; j < flight; j++) q[j] = load4(x + (i64)(t0 + j) * d, at, t0 + j < end ? d : 0, vec);
#pragma unroll
    for (int j = 0; j < flight; j++)
#pragma unroll
      for (int k = 0; k < 4; k++)
        if (t0 + j < end) sum[k] += q[j].v[k];
  }
  quad mean;
#pragma unroll
  for (int k = 0; k < 4; k++) mean.v[k] = (float)(sum[k] / (double)(end - first));
  store4(out + (i64)blockIdx.x * d, at, d, vec, mean);
}

KERNEL __launch_bounds__(threads) pool_last(float* out, const float* x, const int* segments, int d) {
  const bool vec = aligned16(out, x) && d % 4 == 0;
  const int at = 4 * (blockIdx.y * threads + threadIdx.x);
  store4(out + (i64)blockIdx.x * d, at, d, vec, load4(x + (i64)(segments[blockIdx.x + 1] - 1) * d, at, d, vec));
}
