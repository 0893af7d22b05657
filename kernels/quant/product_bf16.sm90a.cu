// C[m,n] = alpha (A op(W) + U op(L)) + beta C for Hopper, A bf16 and W in codes, rounded to
// bf16 as they are decoded: bf16.sm90a.cu's kernels (NN and NT) with another producer. A sum
// has the order and the instructions of theirs, so that C has the bits of the product with
// the decoded matrix.
//
// All four warps of the first warpgroup fill the ring: one thread fetches A, U and L by TMA,
// and every thread decodes Bn/2 elements of B's slice to the places where TMA would have put
// them. It holds the codes of the next slice while it decodes this one: each group of 8 is
// replaced as soon as it is decoded. Rows of W are multiples of 8 elements; codes begin on 4
// bytes.
//
// Floor: that of bf16.sm90a.cu; W is half a byte (int8: one) an element, read once for every
// row of tiles. Not measured on a GPU.
// v1  a slice of the 256 wide tile takes the tensor core 1024 cycles and a producer's warp,
//     one for each scheduler, 128 elements a thread. 104 registers for the producer and 200
//     for the consumers, no spills; the consumers' loop is bf16.sm90a.cu's
#include "../gemm/product_hopper.cuh"
#include "../dev/mma.cuh"
#include "codes.cuh"

struct coded_problem {
  problem p;
  codes w;
};

template <int Bn> DEV float* tables_of() { return (float*)(memory + ring<Bn>::stages * (ring<Bn>::bytes + 16)); }

// position is a slice of op(W) of one of the block's tiles: its first column and step.
template <int Bn> struct position {
  int id, j, k;

  DEV_METHOD position(tiles all) : id(blockIdx.x), k(0) { column(all); }
  DEV_METHOD void column(tiles all) {
    int i;
    all.at(id, i, j);
    j *= Bn;
  }
  DEV_METHOD void next(tiles all, int end) {
    k += slice;
    if (k < end) return;
    id += gridDim.x, k = 0;
    column(all);
  }
};

struct operands { const tensor_map *a, *u, *l; };

template <int Tr, int Bn> DEV void fill(const operands& o, const coded_problem& q, tiles all) {
  const problem& p = q.p;
  const float* tables = tables_of<Bn>();
  const int t = threadIdx.x, row = t / 8, chunk = t % 8;  // of 16 rows of 128 bytes
  const u32 own = row * 128 + ((chunk ^ row % 8) << 4);
  constexpr int groups = Bn / 16;
  neighbours<8> x[groups];
  position<Bn> ahead(all);
  auto read = [&](int g) {
    const bool there = ahead.id < all.count() && ahead.k < p.k;
    const int r = Tr == NT ? ahead.j + row + 16 * g : ahead.k + row + g % 4 * 16;
    const int c = Tr == NT ? ahead.k + 8 * chunk : ahead.j + g / 4 * 64 + 8 * chunk;
    x[g].load(q.w, r, c, there && r < (Tr == NT ? p.n : p.k) && c < (Tr == NT ? p.k : p.n));
  };
#pragma unroll
  for (int g = 0; g < groups; g++) read(g);
  ahead.next(all, p.k);
  ring<Bn> at;
  const int base = (p.k + slice - 1) / slice, slices = base + (p.r + slice - 1) / slice;
  for (int id = blockIdx.x; id < all.count(); id += gridDim.x) {
    int i, j;
    all.at(id, i, j);
    i *= tile_m, j *= Bn;
    for (int s = 0; s < slices; s++, at.next()) {
      const bool branch = s >= base;
      const int k = slice * (branch ? s - base : s);
      const u32 full = at.full();
      mbarrier_wait(at.empty(), at.parity ^ 1);
      warp_sync();
      if (t < 32 && elect_one()) {
        mbarrier_expect(full, branch ? at.bytes : at.bytes_a);
        tma_load(at.a(), branch ? o.u : o.a, k, i, full);
        if (branch && Tr == NT) tma_load(at.b(), o.l, k, j, full);
        if (branch && Tr != NT) {
#pragma unroll
          for (int h = 0; h < Bn / 64; h++) tma_load(at.b() + h * box, o.l, j + 64 * h, k, full);
        }
      }
      if (!branch) {
#pragma unroll
        for (int g = 0; g < groups; g++) {
          float y[8];
          x[g].decode(q.w, tables, y);
          read(g);
          st_shared_v4(at.b() + own + 2048 * g, cvt_bf16x2(y[0], y[1]), cvt_bf16x2(y[2], y[3]), cvt_bf16x2(y[4], y[5]), cvt_bf16x2(y[6], y[7]));
        }
        ahead.next(all, p.k);
        fence_proxy_async();
      }
      warp_sync();
      if (t % 32 == 0) mbarrier_arrive(full);
    }
  }
}

template <int Tr, int Bn> DEV void multiply(const operands& o, const coded_problem& q) {
  copy_tables(q.w, tables_of<Bn>());
  start<Bn>(1 + 4);  // TMA's thread and the warps that decode
  const problem& p = q.p;
  const tiles all = {(p.m + tile_m - 1) / tile_m, (p.n + Bn - 1) / Bn};
  const int group = threadIdx.x / 128;
  if (group == 0) {
    fewer_registers<104>();
    fill<Tr, Bn>(o, q, all);
  } else {
    more_registers<200>();
    consume<Tr, Bn>(p, all, group - 1);
  }
}

#define PRODUCT(name, Tr, Bn)                                                                                         \
  KERNEL __launch_bounds__(384, 1) name(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map u,  \
                                        const __grid_constant__ tensor_map l, coded_problem q) {                     \
    multiply<Tr, Bn>({&a, &u, &l}, q);                                                                               \
  }
PRODUCT(quant_bf16_nn_256, NN, 256)
PRODUCT(quant_bf16_nt_256, NT, 256)
PRODUCT(quant_bf16_nn_128, NN, 128)
PRODUCT(quant_bf16_nt_128, NT, 128)
