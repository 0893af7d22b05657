// Weights in 4 or 8 bits as float32 or bf16: quant.go says what codes stand for.
//
// A thread owns eight neighbours of a row of the rectangle: where they begin on a byte's
// high half and stay in one block, four bytes of codes and one scale. Products and the
// sum of a doubly quantised absmax are rounded one by one, so that the bits are the
// host's.
//
// Floor: half a byte (int8: one) read and 4 or 2 written an element, at the memory's
// bandwidth. Not measured on a GPU.
// v1  tables in shared memory, 16-byte stores
#include "../dev/half.cuh"

struct rectangle {
  const u8* codes;
  const float* absmax;
  const float* tables;  // [16], and the map of absmaxes [256] where there is nested
  const u8* absmax_codes;
  const float* nested;
  void* out;
  float offset;
  int shift;  // of an element's number to its block's; negative: int8, a scale a row
  int cols, r0, c0, rows, width, ld;
  int ragged, per_row;  // blocks are counted by row, so many in each
};

DEV float block_scale(const rectangle& p, const float* tables, i64 block) {
  if (!p.absmax_codes) return p.absmax[block];
  return tables[16 + p.absmax_codes[block]] * p.nested[block / 256] + p.offset;
}

// block is the number of the block that holds column c of row r, which is element i.
DEV i64 block_of(const rectangle& p, int r, int c, i64 i) {
  return p.ragged ? (i64)r * p.per_row + (c >> p.shift) : i >> p.shift;
}

template <class Store> DEV void decode(const rectangle& p, Store store) {
  __shared__ float tables[16 + 256];
  if (p.shift >= 0) {
    const int n = p.absmax_codes ? 16 + 256 : 16;
    for (int i = threadIdx.x; i < n; i += 256) tables[i] = p.tables[i];
  }
  __syncthreads();
  const int groups = (p.width + 7) / 8, t = blockIdx.x * 256 + threadIdx.x, row = t / groups, c = t % groups * 8;
  if (row >= p.rows) return;
  const int n = min(8, p.width - c);
  const int r = p.r0 + row, column = p.c0 + c;
  const i64 first = (i64)r * p.cols + column;
  quad q[2] = {};
  if (p.shift < 0) {
    const float scale = p.absmax[r] * (1.f / 127.f);
#pragma unroll
    for (int k = 0; k < 8; k++)
      if (k < n) q[k / 4].v[k % 4] = (float)(signed char)p.codes[first + k] * scale;
  } else if (n == 8 && first % 8 == 0 && ((u64)p.codes & 3) == 0) {
    const u32 four = *(const u32*)(p.codes + first / 2);
    const float scale = block_scale(p, tables, block_of(p, r, column, first));
#pragma unroll
    for (int k = 0; k < 8; k++) q[k / 4].v[k % 4] = tables[four >> (k / 2 * 8 + (k % 2 ? 0 : 4)) & 15] * scale;
  } else {
#pragma unroll
    for (int k = 0; k < 8; k++)
      if (k < n) {
        const i64 i = first + k;
        const u32 two = p.codes[i / 2];
        q[k / 4].v[k % 4] = tables[i % 2 ? two & 15 : two >> 4] * block_scale(p, tables, block_of(p, r, column + k, i));
      }
  }
  store((i64)row * p.ld, c, q);
}

KERNEL __launch_bounds__(256) quant_decode(rectangle p) {
  decode(p, [&](i64 row, int c, const quad(&q)[2]) {
    float* out = (float*)p.out + row;
    const bool vec = aligned16(out);
    store4(out, c, p.width, vec, q[0]);
    store4(out, c + 4, p.width, vec, q[1]);
  });
}

KERNEL __launch_bounds__(256) quant_decode_bf16(rectangle p) {
  decode(p, [&](i64 row, int c, const quad(&q)[2]) {
    u16* out = (u16*)p.out + row;
    const bool vec = aligned8(out);
    store4_bf16(out, c, p.width, vec, q[0]);
    store4_bf16(out, c + 4, p.width, vec, q[1]);
  });
}
