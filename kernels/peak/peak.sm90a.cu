// peak_products for Hopper: a warpgroup owns a tile, b lies in shared memory and a in
// registers, so that nothing but wgmma is issued. Three blocks a multiprocessor take turns.
//
// Not measured on a GPU.
#include "../dev/hopper.cuh"

// As in peak.go.
constexpr int tile_n = 256, tile_k = 64;

KERNEL __launch_bounds__(128, 1) peak_products(const u16* a, const u16* b, float* c, int steps) {
  __shared__ __align__(1024) uint4 tile[tile_n * tile_k / 8];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  for (int i = threadIdx.x; i < tile_n * tile_k / 8; i += 128) {
    int row = i / 8, chunk = i % 8;
    tile[8 * row + (chunk ^ row % 8)] = *(const uint4*)(b + 8 * i);
  }
  u32 x[4][4];
#pragma unroll
  for (int k = 0; k < 4; k++)
#pragma unroll
    for (int j = 0; j < 4; j++) x[k][j] = *(const u32*)(a + (16 * warp + g + j % 2 * 8) * tile_k + 16 * k + j / 2 * 8 + 2 * t);
  fence_proxy_async();
  __syncthreads();
  u32 address = shared_address(tile);
  float d[tile_n / 2] = {};
  pin(d);
  for (int s = 0; s < steps; s++) {
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; k++) wgmma<0>(d, x[k], k_major(address + 32 * k), true);
    wgmma_commit();
    wgmma_wait<1>();
  }
  wgmma_wait<0>();
  pin(d);
  c += (i64)blockIdx.x * 64 * tile_n;
#pragma unroll
  for (int j = 0; j < tile_n / 8; j++)
#pragma unroll
    for (int h = 0; h < 2; h++)
      *(float2*)(c + (16 * warp + g + 8 * h) * tile_n + 8 * j + 2 * t) = float2{d[4 * j + 2 * h], d[4 * j + 2 * h + 1]};
}
