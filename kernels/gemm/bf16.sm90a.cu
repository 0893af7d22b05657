// C[m,n] = alpha (op(A) op(B) + U op(L)) + beta C for Hopper: bf16 through TMA and wgmma,
// sums and C float32. bf16.go defines A and B, lora_bf16.go U and L: r more steps of
// k, none in a plain product. Rows of all four begin on 16 bytes; C's anywhere.
//
// A block of three warpgroups computes tiles of 128 x Bn, Bn 256 or 128 (bf16_hopper.go
// chooses), one after the other: the grid has as many blocks as there are multiprocessors.
// One warp of the first warpgroup fetches slices of 64 steps into a ring in shared memory,
// also those of the tile to come; the other two warpgroups multiply 64 rows each, one
// slice behind the tensor core, and store. Tiles are taken in columns of 16, so that those
// under way at one time share few slices of A and B, which then stay in the L2 cache.
//
// Beyond the edges TMA reads zeros; stores are guarded. A slice of TN's A or of NN's and
// TN's B is stored as [64 steps][64] boxes, MN-major, which wgmma transposes.
//
// Order of a sum: steps of 16, ascending, A B before U L; within a step the tensor core's.
// A row has the same bits alone or in a batch, and with either tile.
//
// Floor: 2 m n (k + r) FLOP at the tensor cores' rate. Not measured on a GPU.
// v1  four or six stages of 48 or 32 KiB; 128 (64) sums a thread. The loop is 4 wgmma of
//     128 cycles against 14 KiB of shared memory read; minimal bytes, full sectors and no
//     bank conflicts (interpreter)
#include "product_hopper.cuh"

struct operands { const tensor_map *a, *b, *u, *l; };

template <int Tr, int Bn> DEV void fetch(const operands& o, const problem& p, tiles all) {
  ring<Bn> at;
  const int base = (p.k + slice - 1) / slice, slices = base + (p.r + slice - 1) / slice;
  for (int id = blockIdx.x; id < all.count(); id += gridDim.x) {
    int i, j;
    all.at(id, i, j);
    i *= tile_m, j *= Bn;
    for (int s = 0; s < slices; s++, at.next()) {
      const bool branch = s >= base;
      const tensor_map *a = branch ? o.u : o.a, *b = branch ? o.l : o.b;
      const int k = slice * (branch ? s - base : s);
      load<Tr>(at, a, b, k, i, j);
    }
  }
}

template <int Tr, int Bn> DEV void multiply(const operands& o, const problem& p) {
  start<Bn>(1);
  const tiles all = {(p.m + tile_m - 1) / tile_m, (p.n + Bn - 1) / Bn};
  const int group = threadIdx.x / 128;
  if (group == 0) {
    fewer_registers<40>();
    if (threadIdx.x < 32 && elect_one()) fetch<Tr, Bn>(o, p, all);
  } else {
    more_registers<232>();
    consume<Tr, Bn>(p, all, group - 1);
  }
}

#define PRODUCT(name, Tr, Bn)                                                                                               \
  KERNEL __launch_bounds__(384, 1) name(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b,        \
                                        const __grid_constant__ tensor_map u, const __grid_constant__ tensor_map l, problem p) { \
    multiply<Tr, Bn>({&a, &b, &u, &l}, p);                                                                                  \
  }
PRODUCT(gemm_bf16_nn_256, NN, 256)
PRODUCT(gemm_bf16_nt_256, NT, 256)
PRODUCT(gemm_bf16_tn_256, TN, 256)
PRODUCT(gemm_bf16_nn_128, NN, 128)
PRODUCT(gemm_bf16_nt_128, NT, 128)
PRODUCT(gemm_bf16_tn_128, TN, 128)
