// The wrappers of hopper.cuh over one product of 64 x N by 64 steps, for hopper_test.go
// alone: every operand layout, A from shared memory and from registers, C by TMA.
#include "hopper.cuh"

extern __shared__ __align__(1024) u8 memory[];

// a [64, 64] or, TransA, [k, m]; b [N, 64] or [k, N]. 128 threads; c leaves as boxes of 32
// columns. In memory: A, B, C, an mbarrier.
template <int N, int TransA, int TransB, bool Registers> DEV void product(const tensor_map* a, const tensor_map* b, const tensor_map* c) {
  constexpr u32 box = 64 * 128, boxes_b = TransB ? N / 64 : 1, bytes_b = N * 128;
  const u32 at_a = shared_address(memory), at_b = at_a + box, at_c = at_b + bytes_b, bar = at_c + 64 * N * 4;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    mbarrier_init(bar, 1);
    fence_mbarrier_init();
  }
  __syncthreads();
  if (warp == 0 && elect_one()) {
    mbarrier_expect(bar, box + bytes_b);
    tma_load(at_a, a, 0, 0, bar);
    for (u32 i = 0; i < boxes_b; i++) tma_load(at_b + i * box, b, 64 * i, 0, bar);
  }
  mbarrier_wait(bar, 0);
  float d[N / 2];
#pragma unroll
  for (int i = 0; i < N / 2; i++) d[i] = 0;
  u32 f[4][4];
  if (Registers) {
    const int g = 16 * warp + lane / 4;  // row; chunk c of row r is chunk c ^ r % 8
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
      for (int q = 0; q < 4; q++) {
        const int row = g + q % 2 * 8, chunk = 2 * k + q / 2;
        f[k][q] = *(const u32*)(memory + 128 * row + ((chunk ^ row % 8) * 16) + lane % 4 * 4);
      }
  }
  pin(d);
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const u64 db = TransB ? mn_major(at_b + 2048 * k, box) : k_major(at_b + 32 * k);
    if constexpr (Registers) {
      wgmma<TransB>(d, f[k], db, k > 0);
    } else {
      wgmma<TransA, TransB>(d, TransA ? mn_major(at_a + 2048 * k, box) : k_major(at_a + 32 * k), db, k > 0);
    }
  }
  wgmma_commit();
  wgmma_wait<0>();
  pin(d);
#pragma unroll
  for (int i = 0; i < N / 2; i++) {
    const int row = 16 * warp + lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
    *(float*)(memory + (at_c - at_a) + column / 32 * 8192 + row * 128 + column % 32 * 4) = d[i];
  }
  fence_proxy_async();
  named_sync(1, 128);
  if (warp == 0 && elect_one()) {
    for (int i = 0; i < N / 32; i++) tma_store(c, 32 * i, 0, at_c + 8192 * i);
    tma_commit();
    tma_wait_reads<0>();
  }
}

#define MAPS const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b, const __grid_constant__ tensor_map c
KERNEL __launch_bounds__(128, 1) probe_32(MAPS) { product<32, 0, 0, false>(&a, &b, &c); }
KERNEL __launch_bounds__(128, 1) probe_96(MAPS) { product<96, 1, 0, false>(&a, &b, &c); }
KERNEL __launch_bounds__(128, 1) probe_64(MAPS) { product<64, 0, 1, false>(&a, &b, &c); }
KERNEL __launch_bounds__(128, 1) probe_128(MAPS) { product<128, 1, 1, false>(&a, &b, &c); }
KERNEL __launch_bounds__(128, 1) probe_192(MAPS) { product<192, 0, 1, true>(&a, &b, &c); }
KERNEL __launch_bounds__(128, 1) probe_256(MAPS) { product<256, 0, 0, true>(&a, &b, &c); }
