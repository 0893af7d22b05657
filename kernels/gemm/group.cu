// Groups of sums of products of bf16 matrices, C = alpha (op(A0) op(B0) + op(A1) op(B1) + …) + bias,
// in one launch, by mma.m16n8k16: group.go says what is computed. C is bf16, or float32 and
// perhaps added to. Rows of all factors begin on 16 bytes.
//
// A block of 256 threads computes 128 x 128 of one of the sums; the tiles of all sums are
// numbered in a row. Slices of 32 steps of each pair come by 16-byte asynchronous copies,
// three in flight, zeros beyond the edges, in the layout of bf16.cu.
//
// Order of a sum: pair by pair, steps of 16, ascending; within a step the tensor core's. A
// row has the same bits alone or in a batch, and in any group.
//
// Floor: the FLOP of all products at the tensor cores' rate. Not measured on a GPU.
// v1  as bf16.cu; C in bf16 is stored in full sectors
#include "group.cuh"
#include "tile_bf16.cuh"

struct factors {
  const u16 *a, *b;
  int lda, ldb;
};

struct group {
  factors pairs[max_pairs];
  sum_of sums[max_sums];
  int steps[max_pairs];
};

// source is where the copies stand: slice k0 of pair i.
struct source {
  int i, k0, k;
  factors f;
};

template <int Tr> DEV void multiply(const group& g) {
  __shared__ __align__(128) u8 memory[stages * 2 * operand_bytes];
  const warp_tile w;
  int id = blockIdx.x;
  const sum_of p = g.sums[sum_at(g.sums, id)];
  const int columns = (p.n + tile - 1) / tile, i0 = id / columns * tile, j0 = id % columns * tile;
  int slices = 0;
#pragma unroll 1
  for (int i = p.from; i < p.to; i++) slices += (g.steps[i] + slice - 1) / slice;
  source at = {p.from, 0, g.steps[p.from], g.pairs[p.from]};
  float acc[4][4][4];
  sum_slices<Tr>(acc, shared_address(memory), slices, w, [&](int, u32 to) {
    while (at.k0 >= at.k) at = {at.i + 1, 0, g.steps[at.i + 1], g.pairs[at.i + 1]};
    load<Tr != TN>(to, at.f.a, at.f.lda, i0, p.m, at.k0, at.k);
    load<Tr == NT>(to + operand_bytes, at.f.b, at.f.ldb, j0, p.n, at.k0, at.k);
    at.k0 += slice;
  });

  const bool pairs = p.ldc % 2 == 0 && ((u64)p.c & 7) == 0;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const int first = j0 + w.n + 8 * j, t = w.lane % 4 * 2;
    float bias[2][2] = {};
#pragma unroll
    for (int q = 0; q < 4; q++)
      if (p.bias && first + q / 2 * 8 + t + q % 2 < p.n) bias[q / 2][q % 2] = p.bias[first + q / 2 * 8 + t + q % 2];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int row = i0 + w.m + 16 * i + w.lane / 4 + 8 * h;
        const bool there = row < p.m;
        float v[2][2];
#pragma unroll
        for (int q = 0; q < 4; q++) v[q / 2][q % 2] = fma(p.alpha, acc[i][j + q / 2][2 * h + q % 2], bias[q / 2][q % 2]);
        if (p.half) {
          store16_bf16((u16*)p.c + (i64)row * p.ldc + first, p.n - first, there, v[0][0], v[0][1], v[1][0], v[1][1]);
          continue;
        }
        if (!there) continue;
#pragma unroll
        for (int q = 0; q < 2; q++) {
          const int column = first + 8 * q + t;
          float* c = (float*)p.c + (i64)row * p.ldc + column;
          if (pairs && column + 1 < p.n) {
            float2 old = {0.f, 0.f};
            if (p.add) old = *(float2*)c;
            *(float2*)c = float2{v[q][0] + old.x, v[q][1] + old.y};
            continue;
          }
#pragma unroll
          for (int l = 0; l < 2; l++)
            if (column + l < p.n) c[l] = v[q][l] + (p.add ? c[l] : 0.f);
        }
      }
  }
}

KERNEL __launch_bounds__(256, 2) gemm_group_nn(group g) { multiply<NN>(g); }
KERNEL __launch_bounds__(256, 2) gemm_group_nt(group g) { multiply<NT>(g); }
KERNEL __launch_bounds__(256, 2) gemm_group_tn(group g) { multiply<TN>(g); }
