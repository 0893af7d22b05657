// Ceilings: peak.go says what each computes.
//
// peak_copy: 16 bytes a load, 16 KiB a block, four loads in flight a thread.
// peak_multiply: a thread keeps eight floats; the loop is eight independent fma.
// peak_products: a block of 8 warps owns a tile; a warp 32 x 64 of it, with its parts of a
// and b in registers: 64 mma a step of which 16 are independent.
//
// Not measured on a GPU.
#include "../dev/math.cuh"
#include "../dev/mma.cuh"
#include "../dev/quad.cuh"

KERNEL __launch_bounds__(256) peak_copy(const float* src, float* dst, i64 n) {
  bool vec = aligned16(src, dst);
  i64 first = ((i64)blockIdx.x * 1024 + threadIdx.x) * 4;
  quad q[4];
#pragma unroll
  for (int j = 0; j < 4; j++) q[j] = load4(src, first + 1024 * j, n, vec);
#pragma unroll
  for (int j = 0; j < 4; j++) store4(dst, first + 1024 * j, n, vec, q[j]);
}

KERNEL __launch_bounds__(256) peak_multiply(const float* x, float* y, i64 n, int steps) {
  bool vec = aligned16(x, y);
  i64 first = ((i64)blockIdx.x * 512 + threadIdx.x) * 4;
  quad p[2] = {load4(x, first, n, vec), load4(x, first + 1024, n, vec)};
  quad q[2] = {load4(y, first, n, vec), load4(y, first + 1024, n, vec)};
#pragma unroll 8
  for (int s = 0; s < steps; s++)
#pragma unroll
    for (int k = 0; k < 8; k++) q[k / 4].v[k % 4] = fma(q[k / 4].v[k % 4], 0.5f, p[k / 4].v[k % 4]);
  store4(y, first, n, vec, q[0]);
  store4(y, first + 1024, n, vec, q[1]);
}

// As in peak.go.
constexpr int tile_n = 256, tile_k = 64;

KERNEL __launch_bounds__(256, 1) peak_products(const u16* a, const u16* b, float* c, int steps) {
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  int row = warp % 2 * 32, column = warp / 2 * 64;
  u32 x[2][4][4], y[8][4][2];
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
      for (int j = 0; j < 4; j++)
        x[i][k][j] = *(const u32*)(a + (row + 16 * i + g + j % 2 * 8) * tile_k + 16 * k + j / 2 * 8 + 2 * t);
#pragma unroll
  for (int i = 0; i < 8; i++)
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
      for (int j = 0; j < 2; j++) y[i][k][j] = *(const u32*)(b + (column + 8 * i + g) * tile_k + 16 * k + j * 8 + 2 * t);
  float d[2][8][4] = {};
  for (int s = 0; s < steps; s++)
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
      for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) mma_m16n8k16_bf16(d[i][j], x[i][k], y[j][k][0], y[j][k][1]);
  c += (i64)blockIdx.x * 64 * tile_n;
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
      for (int h = 0; h < 2; h++)
        *(float2*)(c + (row + 16 * i + g + 8 * h) * tile_n + column + 8 * j + 2 * t) = float2{d[i][j][2 * h], d[i][j][2 * h + 1]};
}
