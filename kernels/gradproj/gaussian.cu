// out' += R' g' for the normal matrix of gradproj.go (gaussian), in float32. A block makes
// 16 rows by 128 columns of R at a time in shared memory and multiplies them with 64
// samples. Every operation of normal_pair rounds as in the host twin: R has its bits.
//
// Floor: 2 P dim n FLOP by fma, 67 TFLOP/s on an H100: 0.33 s for 64 samples of 8B LoRA
// r = 16 at dim 4096; a normal costs about 40 operations, for 64 samples' 128.
// Not measured on a GPU.
// v1  8 x 4 sums a thread, two stages of 16 rows. ptxas 13.0: 105 registers, 26 KiB, no
//     spills, 2 blocks of 256 threads a multiprocessor. No bank conflicts
//     (TestMatrixCounters).
#include "../dev/math.cuh"
#include "../dev/philox.cuh"
#include "../dev/quad.cuh"
#include "matrix.cuh"

constexpr int block_rows = 4096;  // rows of a sum; aligned in the gradient
constexpr int slice = 16, columns = 128, samples = 64;
constexpr int r_pitch = columns + 8, g_pitch = samples + 4;  // stores have no bank conflicts

template <int N> DEV float polynomial(float x, const float (&c)[N]) {
  float y = c[0];
#pragma unroll
  for (int i = 1; i < N; i++) y = y * x + c[i];
  return y;
}

// radius is sqrt(-2 ln u), u = ((a >> 9) + 1/2) 2^-23.
DEV float radius(u32 a) {
  const float f = (float)(a >> 9) + 0.5f;
  const int e = (int)(bits(f) - 0x3f3504f3u) >> 23;
  const float m = as_float(bits(f) - ((u32)e << 23)) - 1;
  const float k = (float)e - 23, z = m * m;
  const float c[] = {7.0376836292e-2f, -1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                     -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f};
  float y = polynomial(m, c);
  y = y * m * z + k * -2.12194440e-4f;
  y -= z * 0.5f;
  y = m + y + k * 0.693359375f;
  return sqrt(y * -2);
}

// normal_pair is normalPair of gaussian_cpu.go.
DEV void normal_pair(u32 a, u32 b, float scale, float& cosine, float& sine) {
  const float r = radius(a) * scale;
  const float t = ((float)(b << 2 >> 9) - 4194303.5f) * (float)(3.14159265358979323846 / 2 / 8388608);
  const float z = t * t;
  const float cs[] = {-1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f};
  const float cc[] = {2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f};
  const float s = polynomial(z, cs) * z * t + t, c = polynomial(z, cc) * z * z - z * 0.5f + 1;
  const bool swap = b >> 30 & 1;
  cosine = as_float(bits(swap ? s : c) ^ (b >> 31 ^ (b >> 30 & 1)) << 31) * r;
  sine = as_float(bits(swap ? c : s) ^ b >> 31 << 31) * r;
}

KERNEL __launch_bounds__(256, 2) gradproj_gaussian(matrix_product p, float scale) {
  __shared__ __align__(16) float rs[2][slice * r_pitch];
  __shared__ __align__(16) float gs[2][slice * g_pitch];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int c0 = blockIdx.x * columns, i0 = blockIdx.z * samples;
  const matrix_rows rows(p, block_rows);

  // Four rows of one sample a thread; two calls of Philox, four columns of a row each.
  const int sample = warp % 4 * 16 + lane % 16, four = warp / 4 * 2 + lane / 16;
  const float* g = p.gamma + (i64)(i0 + sample) * p.rows + rows.offset + 4 * four;
  auto fetch = [&](int s, int row) {
    float4 x = {0, 0, 0, 0};
    if (i0 + sample < p.n) x = *(const float4*)(g + row);
#pragma unroll
    for (int j = 0; j < 4; j++) gs[s][(4 * four + j) * g_pitch + sample] = x[j];
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const int r = (warp % 2 + 2 * j) * 4 + lane / 8, group = warp / 2;
      const u64 at = rows.first + row + r;
      u32 c[4] = {(u32)at, (u32)(at >> 32), (u32)(8 * (c0 / 32 + group) + lane % 8), 1};
      philox(c, p.keys);
      float* to = &rs[s][r * r_pitch + 32 * group + lane % 8];
      normal_pair(c[0], c[1], scale, to[0], to[8]);
      normal_pair(c[2], c[3], scale, to[16], to[24]);
    }
  };
  float acc[4][8];
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 8; j++) acc[i][j] = 0;
  const int tx = (lane % 8 + warp % 2 * 8) * 4, ty = (lane / 8 + warp / 2 * 4) * 4;
  fetch(0, 0);
  for (int row = 0, s = 0; row < rows.count; row += slice, s ^= 1) {
    __syncthreads();
    if (row + slice < rows.count) fetch(s ^ 1, row + slice);
#pragma unroll 4
    for (int k = 0; k < slice; k++) {
      const float4 y = *(const float4*)&gs[s][k * g_pitch + ty];
      const float4 x = *(const float4*)&rs[s][k * r_pitch + tx], z = *(const float4*)&rs[s][k * r_pitch + 64 + tx];
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) acc[i][j] = fma(y[i], x[j], acc[i][j]), acc[i][4 + j] = fma(y[i], z[j], acc[i][4 + j]);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (i0 + ty + i >= p.n) continue;
    float* partial = p.partial + ((i64)blockIdx.y * p.n + i0 + ty + i) * p.dim + c0 + tx;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      quad q;
#pragma unroll
      for (int j = 0; j < 4; j++) q.v[j] = acc[i][4 * h + j];
      store4(partial, 64 * h, p.dim - c0 - tx, aligned16(partial), q);
    }
  }
}
