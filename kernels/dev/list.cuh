// list.cuh: many vectors in one launch. Their blocks are numbered in a row; a kernel takes
// the number of each vector's first block.
#pragma once
#include "cuda.cuh"

// vector_of is the vector to which a block belongs: the last whose first block is not behind
// it. Most is a power of two; entries without a vector are the largest int.
template <int Most> DEV int vector_of(const int (&first)[Most], int block) {
  int at = 0;
#pragma unroll
  for (int step = Most / 2; step > 0; step /= 2)
    if (first[at + step] <= block) at += step;
  return at;
}
