// The product of bf16.sm90a.cu, tiles of 128 x 256, in clusters of two blocks: one tile below
// the other, so that they share each slice of B. Each block loads half of it, for both by
// multicast, and its own slice of A: the L2 cache gives 32 KiB for a slice of a tile instead of
// 48. A stage is free when the consumers of both blocks have released it.
//
// Sums and their order are those of bf16.sm90a.cu, and so are the bits. With an odd number of
// rows of tiles the last cluster's second block multiplies zeros and stores nothing.
//
// Bound by the L2 cache at 8 TB/s: 683 TFLOP/s without, 1024 with multicast. A prediction
// (bf16_hopper.go chooses by it); not measured on a GPU.
#include "../dev/cluster.cuh"
#include "product_hopper.cuh"

constexpr int columns = 256, pairs_m = group_m / 2;

struct operands { const tensor_map *a, *b, *u, *l; };

// shared_ring is released in both blocks.
struct shared_ring : ring<columns> {
  DEV_METHOD void release(u32 empty) {
    mbarrier_arrive(empty);
    mbarrier_arrive_in(in_block(empty, cluster_rank() ^ 1));
  }
};

// pairs numbers the pairs of tiles as `tiles` numbers tiles, in columns of pairs_m.
struct pairs {
  int rows, columns;
  DEV_METHOD int count() { return rows * columns; }
  DEV_METHOD void at(int id, int& i, int& j) {
    const int group = id / (pairs_m * columns), first = group * pairs_m, high = min(pairs_m, rows - first);
    const int rest = id - first * columns;
    j = rest / high, i = 2 * (first + rest - j * high) + (int)cluster_rank();
  }
};

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

template <int Tr> DEV void fetch(const operands& o, const problem& p, pairs all) {
  shared_ring at;
  const int base = (p.k + slice - 1) / slice, slices = base + (p.r + slice - 1) / slice;
  for (int id = blockIdx.x / 2; id < all.count(); id += gridDim.x / 2) {
    int i, j;
    all.at(id, i, j);
    for (int s = 0; s < slices; s++, at.next()) {
      const bool branch = s >= base;
      load_shared<Tr>(at, branch ? o.u : o.a, branch ? o.l : o.b, slice * (branch ? s - base : s), i * tile_m, j * columns);
    }
  }
}

template <int Tr> DEV void consume_shared(const problem& p, pairs all, int half) {
  shared_ring at;
  const int slices = (p.k + slice - 1) / slice + (p.r + slice - 1) / slice;
  for (int id = blockIdx.x / 2; id < all.count(); id += gridDim.x / 2) {
    float d[columns / 2];
    products<Tr, columns>(d, at, slices, half);
    int i, j;
    all.at(id, i, j);
    store<columns>(p, i * tile_m + half * 64, j * columns, d);
  }
}

template <int Tr> DEV void multiply(const operands& o, const problem& p) {
  if (threadIdx.x == 0) {
    for (int s = 0; s < shared_ring::stages; s++) {
      mbarrier_init(shared_ring::barriers() + 16 * s, 1);
      mbarrier_init(shared_ring::barriers() + 16 * s + 8, 2 * 8);
    }
    fence_mbarrier_init();
  }
  cluster_sync();
  const pairs all = {(p.m + 2 * tile_m - 1) / (2 * tile_m), (p.n + columns - 1) / columns};
  const int group = threadIdx.x / 128;
  if (group == 0) {
    fewer_registers<40>();
    if (threadIdx.x < 32 && elect_one()) fetch<Tr>(o, p, all);
  } else {
    more_registers<232>();
    consume_shared<Tr>(p, all, group - 1);
  }
  cluster_sync();  // the other block may still release stages here
}

#define PRODUCT(name, Tr)                                                                                                      \
  KERNEL __launch_bounds__(384, 1, 2) name(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b,         \
                                           const __grid_constant__ tensor_map u, const __grid_constant__ tensor_map l, problem p) { \
    multiply<Tr>({&a, &b, &u, &l}, p);                                                                                         \
  }
PRODUCT(gemm_bf16_nn_cluster, NN)
PRODUCT(gemm_bf16_nt_cluster, NT)
PRODUCT(gemm_bf16_tn_cluster, TN)
