// product_hopper.cuh: one product on the tiles of tile_hopper.cuh, its tiles' order and how
// their sums are stored; kernels/quant decodes B for it.
#pragma once
#include "tile_hopper.cuh"

struct problem {
  float* c;
  int m, n, k, r, ldc;
  float alpha;
  int add;
};

// tiles numbers the tiles: columns of group_m, group by group.
struct tiles {
  int rows, columns;
  DEV_METHOD int count() { return rows * columns; }
  DEV_METHOD void at(int id, int& i, int& j) {
    const int group = id / (group_m * columns), first = group * group_m, high = min(group_m, rows - first);
    const int rest = id - first * columns;
    j = rest / high, i = first + rest - j * high;
  }
};

// store writes a thread's sums of 64 rows from i on to C: in pairs, old values eight at a
// time, unless C's rows are not aligned to 8 bytes.
template <int Bn> DEV void store(const problem& p, int i, int j, const float (&d)[Bn / 2]) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const bool pairs = p.n % 2 == 0 && p.ldc % 2 == 0 && ((u64)p.c & 7) == 0;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int row = i + 16 * warp + lane / 4 + 8 * h, column = j + lane % 4 * 2, room = p.n - column;
    if (row >= p.m) continue;
    float* c = p.c + (i64)row * p.ldc + column;
    if (pairs) {
#pragma unroll
      for (int q0 = 0; q0 < Bn / 8; q0 += 8) {
        float2 old[8] = {};
        if (p.add) {
#pragma unroll
          for (int q = 0; q < 8; q++)
            if (8 * (q0 + q) < room) old[q] = *(float2*)(c + 8 * (q0 + q));
        }
#pragma unroll
        for (int q = 0; q < 8; q++) {
          const float *s = d + 4 * (q0 + q) + 2 * h;
          if (8 * (q0 + q) < room) *(float2*)(c + 8 * (q0 + q)) = float2{fma(p.alpha, s[0], old[q].x), fma(p.alpha, s[1], old[q].y)};
        }
      }
      continue;
    }
#pragma unroll
    for (int q = 0; q < Bn / 4; q++) {
      const int at = q / 2 * 8 + q % 2;
      if (at < room) c[at] = fma(p.alpha, d[q / 2 * 4 + 2 * h + q % 2], p.add ? c[at] : 0.f);
    }
  }
}

// consume multiplies rows 64 half … of each of the block's tiles.
template <int Tr, int Bn> DEV void consume(const problem& p, tiles all, int half) {
  ring<Bn> at;
  const int slices = (p.k + slice - 1) / slice + (p.r + slice - 1) / slice;
  for (int id = blockIdx.x; id < all.count(); id += gridDim.x) {
    float d[Bn / 2];
    products<Tr, Bn>(d, at, slices, half);
    int i, j;
    all.at(id, i, j);
    store<Bn>(p, i * tile_m + half * 64, j * Bn, d);
  }
}
