// Groups of sums of products of bf16 matrices, as group.sm90a.cu, and single products as
// groups of one: tiles of 128 x 256, in clusters of two blocks. These compute one tile below
// the other, so that they share each slice of B: each block loads half of it, for both by
// multicast, and its own slice of A. The L2 cache gives 32 KiB for a slice of a tile instead of
// 48. A stage is free when the consumers of both blocks have released it.
//
// Sums and their order are those of bf16.sm90a.cu and group.sm90a.cu, and so are the bits. With
// an odd number of rows of tiles a sum's last clusters have a block that multiplies zeros and
// stores nothing.
//
// Bound by the L2 cache at 8 TB/s: 683 TFLOP/s without, 1024 with multicast. A prediction
// (cluster.go chooses by it); not measured on a GPU.
#include "../dev/cluster.cuh"
#include "group_hopper.cuh"

constexpr int columns = 256, pair_m = 2 * tile_m, group_pairs = group_m / 2;

// shared_ring is released in both blocks.
struct shared_ring : ring<columns> {
  DEV_METHOD void release(u32 empty) {
    mbarrier_arrive(empty);
    mbarrier_arrive_in(in_block(empty, cluster_rank() ^ 1));
  }
};

// place_of is the first row and column of this block's tile of pair id of a sum: columns of
// group_pairs pairs, group by group.
DEV void place_of(const sum_of& p, int id, int& i, int& j) {
  const int rows = (p.m + pair_m - 1) / pair_m, across = (p.n + columns - 1) / columns;
  const int first = id / (group_pairs * across) * group_pairs, high = min(group_pairs, rows - first), rest = id - first * across;
  i = (first + rest % high) * pair_m + cluster_rank() * tile_m, j = rest / high * columns;
}

// load_shared is load, with half of B for both blocks.
template <int Tr> DEV void load_shared(shared_ring at, const tensor_map* a, const tensor_map* b, int k, int i, int j) {
  const u32 full = at.full(), half = cluster_rank();
  mbarrier_wait_cluster(at.empty(), at.parity ^ 1);
  mbarrier_expect(full, at.bytes);
  if (Tr != TN) {
    tma_load(at.a(), a, k, i, full);
  } else {
#pragma unroll
    for (int h = 0; h < 2; h++) tma_load(at.a() + h * box, a, i + 64 * h, k, full);
  }
  j += columns / 2 * half;
  const u32 to = at.b() + columns / 128 * box * half;
  if (Tr == NT) {
    tma_multicast(to, b, k, j, full, 3);
  } else {
#pragma unroll
    for (int h = 0; h < columns / 128; h++) tma_multicast(to + h * box, b, j + 64 * h, k, full, 3);
  }
}

template <int Tr> DEV void fetch(const group& g) {
  shared_ring at;
  const int all = g.sums[g.count - 1].tiles;
#pragma unroll 1
  for (int id = blockIdx.x / 2; id < all; id += gridDim.x / 2) {
    int own = id, i, j;
    const sum_of p = g.sums[sum_at(g.sums, own)];
    place_of(p, own, i, j);
#pragma unroll 1
    for (int pair = p.from; pair < p.to; pair++) {
      const tensor_map *a = &g.pairs[pair].a, *b = &g.pairs[pair].b;
      const int end = slice * g.slices[pair];
#pragma unroll 1
      for (int k = 0; k < end; k += slice, at.next()) load_shared<Tr>(at, a, b, k, i, j);
    }
  }
}

// consume multiplies rows 64 half … of each of the block's tiles.
template <int Tr> DEV void consume(const group& g, int half) {
  shared_ring at;
  const int all = g.sums[g.count - 1].tiles;
#pragma unroll 1
  for (int id = blockIdx.x / 2; id < all; id += gridDim.x / 2) {
    int own = id, slices = 0;
    const int sum = sum_at(g.sums, own);
#pragma unroll 1
    for (int pair = g.sums[sum].from; pair < g.sums[sum].to; pair++) slices += g.slices[pair];
    float d[columns / 2];
    products<Tr, columns>(d, at, slices, half);
    const sum_of p = g.sums[sum];
    int i, j;
    place_of(p, own, i, j);
    store<columns>(p, i + half * 64, j, d);
  }
}

template <int Tr> DEV void multiply(const group& g) {
  if (threadIdx.x == 0) {
    for (int s = 0; s < shared_ring::stages; s++) {
      mbarrier_init(shared_ring::barriers() + 16 * s, 1);
      mbarrier_init(shared_ring::barriers() + 16 * s + 8, 2 * 8);
    }
    fence_mbarrier_init();
  }
  cluster_sync();
  const int warpgroup = threadIdx.x / 128;
  if (warpgroup == 0) {
    fewer_registers<40>();
    if (threadIdx.x < 32 && elect_one()) fetch<Tr>(g);
  } else {
    more_registers<232>();
    consume<Tr>(g, warpgroup - 1);
  }
  cluster_sync();  // the other block may still release stages here
}

#define GROUP(name, Tr) \
  KERNEL __launch_bounds__(384, 1, 2) name(const __grid_constant__ group g) { multiply<Tr>(g); }
GROUP(gemm_group_nn_cluster, NN)
GROUP(gemm_group_nt_cluster, NT)
GROUP(gemm_group_tn_cluster, TN)
