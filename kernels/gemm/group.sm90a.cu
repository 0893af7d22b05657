// Groups of sums of products of bf16 matrices, C = alpha (op(A0) op(B0) + op(A1) op(B1) + …) + bias,
// in one launch, for Hopper: bf16 through TMA and wgmma. group.go says what is computed. C is
// bf16, or float32 and perhaps added to. Rows of all factors begin on 16 bytes.
//
// A block works as in bf16.sm90a.cu, on tiles of 128 x Bn of all sums, which are numbered
// in a row: one warp fetches slices of 64 steps, pair by pair, into a ring in shared
// memory, also those of the tile to come; two warpgroups multiply 64 rows each and store.
//
// Order of a sum: pair by pair, steps of 16, ascending; within a step the tensor core's. A
// row has the same bits alone or in a batch, in any group and with either tile.
//
// Floor: the FLOP of all products at the tensor cores' rate. Not measured on a GPU.
// v1  as bf16.sm90a.cu; C in bf16 is stored in full sectors
#include "group_hopper.cuh"

// place_of is the first row and column of tile id of a sum: columns of group_m tiles, group by group.
template <int Bn> DEV void place_of(const sum_of& p, int id, int& i, int& j) {
  const int rows = (p.m + tile_m - 1) / tile_m, columns = (p.n + Bn - 1) / Bn;
  const int first = id / (group_m * columns) * group_m, high = min(group_m, rows - first), rest = id - first * columns;
  i = (first + rest % high) * tile_m, j = rest / high * Bn;
}

template <int Tr, int Bn> DEV void fetch(const group& g) {
  ring<Bn> at;
  const int all = g.sums[g.count - 1].tiles;
#pragma unroll 1
  for (int id = blockIdx.x; id < all; id += gridDim.x) {
    int own = id, i, j;
    const sum_of p = g.sums[sum_at(g.sums, own)];
    place_of<Bn>(p, own, i, j);
#pragma unroll 1
    for (int pair = p.from; pair < p.to; pair++) {
      const tensor_map *a = &g.pairs[pair].a, *b = &g.pairs[pair].b;
      const int end = slice * g.slices[pair];
#pragma unroll 1
      for (int k = 0; k < end; k += slice, at.next()) load<Tr>(at, a, b, k, i, j);
    }
  }
}

// consume multiplies rows 64 half … of each of the block's tiles.
template <int Tr, int Bn> DEV void consume(const group& g, int half) {
  ring<Bn> at;
  const int all = g.sums[g.count - 1].tiles;
#pragma unroll 1
  for (int id = blockIdx.x; id < all; id += gridDim.x) {
    int own = id, slices = 0;
    const int sum = sum_at(g.sums, own);
#pragma unroll 1
    for (int pair = g.sums[sum].from; pair < g.sums[sum].to; pair++) slices += g.slices[pair];
    float d[Bn / 2];
    products<Tr, Bn>(d, at, slices, half);
    const sum_of p = g.sums[sum];
    int i, j;
    place_of<Bn>(p, own, i, j);
    store<Bn>(p, i + half * 64, j, d);
  }
}

template <int Tr, int Bn> DEV void multiply(const group& g) {
  start<Bn>(1);
  const int warpgroup = threadIdx.x / 128;
  if (warpgroup == 0) {
    fewer_registers<40>();
    if (threadIdx.x < 32 && elect_one()) fetch<Tr, Bn>(g);
  } else {
    more_registers<232>();
    consume<Tr, Bn>(g, warpgroup - 1);
  }
}

#define GROUP(name, Tr, Bn) \
  KERNEL __launch_bounds__(384, 1) name(const __grid_constant__ group g) { multiply<Tr, Bn>(g); }
GROUP(gemm_group_nn_256, NN, 256)
GROUP(gemm_group_nt_256, NT, 256)
GROUP(gemm_group_tn_256, TN, 256)
GROUP(gemm_group_nn_128, NN, 128)
GROUP(gemm_group_nt_128, NT, 128)
GROUP(gemm_group_tn_128, TN, 128)
