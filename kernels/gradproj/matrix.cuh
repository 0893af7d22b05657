// matrix.cuh: the arguments of the products with matrices that are no signs.
#pragma once
#include "../dev/cuda.cuh"

struct matrix_product {
  const float* gamma;  // [n][rows]
  float* partial;      // [blocks of rows][n][dim]
  i64 first, rows;     // of gamma in the whole gradient, multiples of 128
  int n, dim;
  u32 keys[20];        // of Philox's rounds
};

// matrix_rows is the rows of blockIdx.y's block; blocks are aligned in the gradient.
struct matrix_rows {
  i64 first;   // in the gradient
  i64 offset;  // in gamma
  int count;   // a multiple of 128

  DEV_METHOD matrix_rows(const matrix_product& p, i64 size) {
    const i64 begin = (p.first / size + blockIdx.y) * size, end = begin + size;
    first = begin > p.first ? begin : p.first;
    offset = first - p.first;
    count = (int)((end < p.first + p.rows ? end : p.first + p.rows) - first);
  }
};
