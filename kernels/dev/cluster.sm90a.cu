// The wrappers of cluster.cuh between two blocks, for cluster_test.go alone: what each block
// has in its shared memory after two rounds of multicasts.
#include "cluster.cuh"

extern __shared__ __align__(1024) u8 memory[];

// x [256, 64] is four boxes. Round 0: block r loads box r for both. Round 1: it loads box
// 2 + r for the other block alone. out [2 blocks][2 rounds][2 boxes].
KERNEL __launch_bounds__(128, 1, 2) probe_cluster(const __grid_constant__ tensor_map x, u32* out) {
  constexpr u32 box = 64 * 128, words = 2 * box / 4;
  const u32 rank = cluster_rank(), tile = shared_address(memory), full = tile + 2 * box, empty = full + 8;
  if (threadIdx.x == 0) {
    mbarrier_init(full, 1);
    mbarrier_init(empty, 2);
    fence_mbarrier_init();
  }
  cluster_sync();
  for (u32 round = 0; round < 2; round++) {
    if (threadIdx.x == 0) {
      mbarrier_wait_cluster(empty, round ^ 1);
      mbarrier_expect(full, round ? box : 2 * box);
      tma_multicast(tile + box * rank, &x, 0, 64 * (2 * round + rank), full, round ? 2 >> rank : 3);
    }
    mbarrier_wait(full, round);
    for (u32 i = threadIdx.x; i < words; i += 128) out[(2 * rank + round) * words + i] = ((const u32*)memory)[i];
    __syncthreads();
    if (threadIdx.x < 2) mbarrier_arrive_in(in_block(empty, threadIdx.x));
  }
  cluster_sync();
}
