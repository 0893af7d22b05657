// signs.cuh: the sign matrix of gradproj.go in the registers of a tensor-core product,
// for signs.cu and signs.sm90a.cu.
//
// A Philox call (or an entry of a table) is the signs of 64 rows of the columns c and c+8.
// Word k of it is a step of 16 rows, and of its 32 bits a lane takes eight: with t = lane % 4
// bits t + 4i and t + 4i + 16, i < 4, the two halves of one register of the A fragment. A
// register costs a shift and a lop3, and one of four no shift.
#pragma once
#include "../dev/philox.cuh"
#include "../dev/warp.cuh"

// signed_product is the arguments of signs_*.
struct signed_product {
  const u16* planes;   // [planes][.][rows], bf16 or f16: a row a sample
  float* partial;      // [blocks of rows][n][dim]
  const uint4* table;  // [tiles of 64 rows][pairs] signs that are no Philox's, or null; begins where the grid's first block does
  i64 first, rows;     // of the planes in the whole gradient, multiples of 128
  i64 plane;           // entries from one plane to the next
  int n, dim;
  int block, pairs;    // the first block of the grid, counted from `first`; table: 8 for 16 columns
  u32 keys[20];        // of Philox's rounds
};

constexpr int block_rows = 16384;  // rows summed before the blocks are added up; aligned in the gradient
constexpr int stage_rows = 64;     // rows of a call, and of a stage of shared memory

// row_block is what a block of threads adds up.
struct row_block {
  int number;   // in partial
  i64 offset;   // of its first row in the planes
  u32 tile;     // of 64 rows in the whole gradient: gradients are shorter than 2^38
  u32 stages;

  DEV_METHOD row_block(const signed_product& p) {
    number = p.block + blockIdx.y;
    const i64 begin = (p.first / block_rows + number) * block_rows, end = begin + block_rows;
    const i64 from = begin > p.first ? begin : p.first, until = end < p.first + p.rows ? end : p.first + p.rows;
    offset = from - p.first;
    tile = (u32)(from / stage_rows);
    stages = (u32)(until - from) / stage_rows;
  }
};

// draw makes the four words of stage `s` of the block for columns 16 b + c and 16 b + c + 8;
// pair is 8 b + c.
DEV void draw(u32 (&words)[4], const signed_product& p, const row_block& r, u32 s, int pair) {
  if (p.table) {
    uint4 w = {0, 0, 0, 0};
    if (pair < p.pairs && s < r.stages) w = p.table[(u64)s * p.pairs + pair];
    words[0] = w.x, words[1] = w.y, words[2] = w.z, words[3] = w.w;
    return;
  }
  words[0] = r.tile + s, words[1] = 0, words[2] = pair, words[3] = 0;
  philox(words, p.keys);
}

constexpr u32 minus_one_bf16 = 0xbf80bf80u, minus_one_f16 = 0xbc00bc00u;

// expand gives the A fragment, 16 columns of R by 16 rows, from the word of its columns
// lane/4 and lane/4 + 8, which lane `from` has.
DEV void expand(u32 (&a)[4], u32 word, u32 from, u32 minus_one) {
  const u32 w = shfl_idx(word, from) << (3 - threadIdx.x % 4);
  a[0] = and_xor(w << 12, 0x80008000u, minus_one), a[1] = and_xor(w << 4, 0x80008000u, minus_one);
  a[2] = and_xor(w << 8, 0x80008000u, minus_one), a[3] = and_xor(w, 0x80008000u, minus_one);
}
