// group.cuh: what the kernels of grouped products share (group.go): which tile a block
// computes.
#pragma once
#include "../dev/half.cuh"
#include "../dev/math.cuh"

constexpr int max_sums = 6, max_pairs = 8;

// sum_of is one sum of products, C [m, n].
struct sum_of {
  void* c;
  const float* bias;  // [n], added to every row; null = none
  int m, n, ldc;
  float alpha;
  int half, add;  // C is bf16; or float32 and added to
  int from, to;   // its pairs
  int tiles;      // of all sums up to this one, itself included
};

// sum_at is the number of the sum that tile id belongs to; id becomes the tile's number in it.
DEV int sum_at(const sum_of (&sums)[max_sums], int& id) {
  int s = 0, before = 0;
#pragma unroll
  for (int i = 0; i < max_sums - 1; i++)
    if (id >= sums[i].tiles) s = i + 1, before = sums[i].tiles;
  id -= before;
  return s;
}
