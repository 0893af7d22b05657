// C[m,n] = alpha A op(W) + beta C, A bf16 and W in codes, rounded to bf16 as they are
// decoded: bf16.cu's kernels (NN and NT, with and without U op(L)), whose slices of B are
// decoded when they are written to shared memory. A sum has the order and the instructions of
// bf16.cu's, so that C has the bits of the product with the decoded matrix.
//
// A comes as in bf16.cu, three slices in flight. Of B there are two: a thread reads the
// codes and the scales of 16 elements of the next slice before it multiplies this one, and
// decodes them afterwards. L is copied. Rows of W are multiples of 8 elements; codes begin on
// 4 bytes.
//
// Floor: that of bf16.cu; W is half a byte (int8: one) an element, read once for every row
// of tiles. Not measured on a GPU.
// v1  for every row of tiles again: 16 elements a thread and slice, 2 instructions, a
//     table's entry (int8: 2 instructions) and half a conversion each, beside the 512 cycles
//     of a tensor core that the warp's products take. 126 to 128 registers, 41 KiB, no spills,
//     2 blocks a multiprocessor, on sm_86 and sm_89, too
#include "../gemm/product_bf16.cuh"
#include "codes.cuh"

struct coded_problem {
  problem p;
  codes w;
};

// coded is this thread's part of the slices of op(W): the chunks of 8 elements that load of
// tile_bf16.cuh would copy.
template <bool Steps> struct coded {
  neighbours<8> x[2];

  DEV_METHOD static void own(int l, int& r, int& c) {
    int t = threadIdx.x;
    asm volatile("" : "+r"(t));  // or what follows from it is kept in registers over the products
    t += 256 * l;
    r = Steps ? t / 4 : t / 16, c = Steps ? t % 4 : t % 16;
  }
  DEV_METHOD void read(const codes& w, int j0, int n, int k0, int k) {
#pragma unroll
    for (int l = 0; l < 2; l++) {
      int r, c;
      own(l, r, c);
      const int row = Steps ? j0 + r : k0 + r, column = Steps ? k0 + 8 * c : j0 + 8 * c;
      x[l].load(w, row, column, row < (Steps ? n : k) && column < (Steps ? k : n));
    }
  }
  DEV_METHOD void store(const codes& w, const float* tables, u32 dst) {
#pragma unroll
    for (int l = 0; l < 2; l++) {
      int r, c;
      own(l, r, c);
      float y[8];
      x[l].decode(w, tables, y);
      st_shared_v4(dst + place<Steps>(r, c), cvt_bf16x2(y[0], y[1]), cvt_bf16x2(y[2], y[3]), cvt_bf16x2(y[4], y[5]), cvt_bf16x2(y[6], y[7]));
    }
  }
};

template <int Tr, bool Branch> DEV void multiply(const coded_problem& q) {
  constexpr int stages_b = 2;
  const problem& p = q.p;
  __shared__ __align__(128) u8 memory[(stages + stages_b) * operand_bytes];
  __shared__ float tables[table_size];
  copy_tables(q.w, tables);
  const u32 base = shared_address(memory);
  const warp_tile w;
  const int i0 = blockIdx.y * tile, j0 = blockIdx.x * tile;
  const int own = (p.k + slice - 1) / slice, slices = own + (Branch ? (p.r + slice - 1) / slice : 0);
  float acc[4][4][4];
  clear(acc);

  auto fetch_a = [&](int s) {
    if (s < slices) {
      const bool low = Branch && s >= own;
      load<true>(base + s % stages * operand_bytes, low ? p.u : p.a, low ? p.ldu : p.lda, i0, p.m, (low ? s - own : s) * slice, low ? p.r : p.k);
    }
    cp_async_commit();
  };
  coded<Tr == NT> b;
  auto place_b = [&](int s) { return base + (stages + s % stages_b) * operand_bytes; };
  auto fetch_b = [&](int s) {
    if (s < own) {
      b.read(q.w, j0, p.n, s * slice, p.k);
    } else if (Branch && s < slices) {
      load<Tr == NT>(place_b(s), p.l, p.ldl, j0, p.n, (s - own) * slice, p.r);
    }
  };
  fetch_b(0);
  fetch_a(0);
  fetch_a(1);
  __syncthreads();  // the tables are there
  if (own > 0) b.store(q.w, tables, place_b(0));
  for (int s = 0; s < slices; s++) {
    if (Branch && s >= own) {  // L came with the last copies
      cp_async_wait<0>();
    } else {
      cp_async_wait<stages - 2>();
    }
    __syncthreads();
    fetch_b(s + 1);
    fetch_a(s + 2);
    products<Tr>(acc, base + s % stages * operand_bytes, place_b(s), w);
    if (s + 1 < own) b.store(q.w, tables, place_b(s + 1));
  }
  store(p, acc, i0, j0, w);
}

KERNEL __launch_bounds__(256, 2) quant_bf16_nn(coded_problem p) { multiply<NN, false>(p); }
KERNEL __launch_bounds__(256, 2) quant_bf16_nt(coded_problem p) { multiply<NT, false>(p); }
KERNEL __launch_bounds__(256, 2) quant_bf16_nn_branch(coded_problem p) { multiply<NN, true>(p); }
KERNEL __launch_bounds__(256, 2) quant_bf16_nt_branch(coded_problem p) { multiply<NT, true>(p); }
