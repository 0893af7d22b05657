// codes.cuh: a weight in 4 or 8 bits, as quant.go describes it, decoded in registers.
//
// Products and the sum of a doubly quantised absmax are rounded one by one, so that the
// bits are the host's.
#pragma once
#include "../dev/cuda.cuh"

struct codes {
  const u8* data;
  const float* absmax;
  const float* tables;  // [16], and the map of absmaxes [256] where there is nested
  const u8* absmax_codes;
  const float* nested;
  float offset;
  int shift;  // from an element's index to its block's; negative: int8, a scale for each row
  int cols;
  int ragged, per_row;  // blocks are counted by row, so many in each
};

constexpr int table_size = 16 + 256;

// copy_tables copies w's tables to shared memory; a barrier must follow.
DEV void copy_tables(const codes& w, float* tables) {
  if (w.shift < 0) return;
  const int n = w.absmax_codes ? table_size : 16;
  for (int i = threadIdx.x; i < n; i += blockDim.x) tables[i] = w.tables[i];
}

DEV float block_scale(const codes& w, const float* tables, u32 block) {
  if (!w.absmax_codes) return w.absmax[block];
  return tables[16 + w.absmax_codes[block]] * w.nested[block / 256] + w.offset;
}

// block_of is the block that holds column c of row r, which is element i.
DEV u32 block_of(const codes& w, int r, int c, i64 i) {
  return w.ragged ? r * w.per_row + (c >> w.shift) : (u32)(i >> w.shift);
}

// four_bits is the k-th 4-bit code of a word: the earlier of two is in a byte's high half.
DEV u32 four_bits(u32 word, int k) { return word >> (k / 2 * 8 + (k % 2 ? 0 : 4)) & 15; }

// prefetch loads the line of an address to the first-level cache.
DEV void prefetch(const void* p) { asm volatile("prefetch.global.L1 [%0];" ::"l"(p) : "memory"); }

// neighbours are N consecutive elements of a row of a product: load reads their codes and
// prefetches their scale; decode, later, reads it. N is 2, 4 or 8; they begin at a
// multiple of N, and rows are multiples of 8, so that all are in one block.
template <int N> struct neighbours {
  u32 word[2];  // the codes; only 8 in int8 need the second
  u32 block;    // or the row in int8; none: there are no such elements, zeros are decoded

  DEV_METHOD void load(const codes& w, int r, int c, bool exists) {
    word[0] = word[1] = 0x77777777;  // times 0 it is +0 in every format
    block = none;
    if (!exists) return;
    const i64 i = (i64)r * w.cols + c;
    if (w.shift < 0) {
      const u8* p = w.data + i;
      if (N == 2) word[0] = *(const u16*)p;
      if (N >= 4) word[0] = *(const u32*)p;
      if (N == 8) word[1] = *(const u32*)(p + 4);
      block = r;
    } else {
      const u8* p = w.data + i / 2;
      word[0] = N == 8 ? *(const u32*)p : N == 4 ? *(const u16*)p : *p;
      block = block_of(w, r, c, i);
    }
    prefetch(w.absmax_codes ? (const void*)(w.absmax_codes + block) : (const void*)(w.absmax + block));
  }

  DEV_METHOD void decode(const codes& w, const float* tables, float (&x)[N]) const {
    float scale = block == none ? 0.f : block_scale(w, tables, block);
    if (w.shift < 0) {
      scale = scale * (1.f / 127.f);
#pragma unroll
      for (int k = 0; k < N; k++) x[k] = (float)(signed char)(word[k / 4] >> k % 4 * 8) * scale;
    } else {
#pragma unroll
      for (int k = 0; k < N; k++) x[k] = tables[four_bits(word[0], k)] * scale;
    }
  }

  static constexpr u32 none = ~0u;
};
