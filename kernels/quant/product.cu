// C[m,n] = alpha A op(W) + beta C in float32, W in codes: gemm.cu's kernels (NN and NT, all
// of k), whose slices of B are decoded when they are written to shared memory. A sum has the order
// and the operations of gemm.cu's, so that C has the bits of the product with the decoded
// matrix.
//
// A thread reads the codes and the scale of its part of the next slice before it multiplies
// this one, and decodes them afterwards: no thread waits for memory that it has just asked
// for. Rows of W are multiples of 8 elements; codes begin on 4 bytes.
//
// Floor: that of gemm.cu; W is half a byte (int8: one) an element, read once for every row
// of tiles. Not measured on a GPU.
// v1  decoding is 2 instructions and a table's entry (int8: 2 instructions) an element, for
//     every row of tiles again: in a 128 x 128 tile 8 elements for 1024 multiply-adds a thread.
//     125 to 127 registers, 34 KiB, no spills, 2 blocks a multiprocessor, the loop of gemm.cu's;
//     smaller tiles: 66 to 75 registers, 3 blocks
#include "../gemm/tile.cuh"
#include "codes.cuh"

struct coded_problem {
  problem p;
  codes w;
};

// coded is this thread's part of the slices of op(W). NT: of one row (i) Bn/16 steps. NN: of
// one step, or of two 8 apart, 4 columns; 32 columns leave half of the threads idle.
template <int Tr, int Bn> struct coded {
  static constexpr int run = Tr == NT ? Bn / 16 : 4, parts = Tr == NT ? 1 : (Bn + 63) / 64;
  const codes& w;
  const float* tables;
  int n;
  int step = 0;  // the next slice's first
  neighbours<run> x[parts];

  DEV_METHOD coded(const codes& w, const float* tables, int n) : w(w), tables(tables), n(n) {}

  // own is where this thread's part begins: column i of the tile, step k of the slice.
  DEV_METHOD static void own(int& i, int& k) {
    int t = threadIdx.x;
    asm volatile("" : "+r"(t));  // or what follows from it is kept in registers over the products
    i = Tr == NT ? t % Bn : 4 * (t % (Bn / 4));
    k = Tr == NT ? t / Bn * run : t / (Bn / 4);
  }
  // load starts the reads of the next slice, of which `steps` exist.
  DEV_METHOD void load(u32, int steps) {
    int i, k;
    own(i, k);
    const int j = blockIdx.x * Bn + i;
#pragma unroll
    for (int l = 0; l < parts; l++) {
      const int at = k + 8 * l;
      const bool exists = j < n && at < min(slice, steps);
      x[l].load(w, Tr == NT ? j : step + at, Tr == NT ? step + at : j, exists);
    }
    step += slice;
  }
  // store decodes it to dst [16][Bn+pad].
  DEV_METHOD void store(float* dst) {
    int i, k;
    own(i, k);
    if (Tr == NN && k >= slice) return;
    dst += k * (Bn + pad) + i;
#pragma unroll
    for (int l = 0; l < parts; l++) {
      float y[run];
      x[l].decode(w, tables, y);
      if (Tr == NT) {
#pragma unroll
        for (int q = 0; q < run; q++) dst[q * (Bn + pad)] = y[q];
      } else {
        *(float4*)(dst + 8 * l * (Bn + pad)) = float4{y[0], y[1], y[2], y[3]};
      }
    }
  }
};

template <int Tr, int Bm, int Bn, int Wm, int Wn> DEV void product(const coded_problem& p) {
  __shared__ float tables[table_size];
  copy_tables(p.w, tables);
  __syncthreads();
  multiply<Tr, Bm, Bn, Wm, Wn>(p.p, 0, p.p.k, blockIdx.y * Bm, blockIdx.x * Bn, coded<Tr, Bn>(p.w, tables, p.p.n));
}

// clang-format off
KERNEL __launch_bounds__(256, 2) quant_nn_128x128(coded_problem p) { product<NN, 128, 128, 32, 64>(p); }
KERNEL __launch_bounds__(256, 2) quant_nt_128x128(coded_problem p) { product<NT, 128, 128, 32, 64>(p); }
KERNEL __launch_bounds__(256, 3) quant_nn_64x64(coded_problem p) { product<NN, 64, 64, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) quant_nt_64x64(coded_problem p) { product<NT, 64, 64, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) quant_nn_128x32(coded_problem p) { product<NN, 128, 32, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) quant_nt_128x32(coded_problem p) { product<NT, 128, 32, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) quant_nn_32x128(coded_problem p) { product<NN, 32, 128, 16, 32>(p); }
KERNEL __launch_bounds__(256, 3) quant_nt_32x128(coded_problem p) { product<NT, 32, 128, 16, 32>(p); }
// clang-format on
