// Weights in 4 or 8 bits as float32 or bf16: quant.go defines the formats.
//
// A thread owns eight neighbours of a row of the rectangle: where they begin on a byte's
// high half and stay in one block, four bytes of codes and one scale.
//
// Floor: half a byte (int8: one) read and 4 or 2 written an element, at the memory's
// bandwidth. Not measured on a GPU.
// v1  tables in shared memory, 16-byte stores
#include "../dev/half.cuh"
#include "codes.cuh"

struct rectangle {
  codes w;
  void* out;
  int r0, c0, rows, width, ld;
};

template <class Store> DEV void decode(const rectangle& p, Store store) {
  const codes& w = p.w;
  __shared__ float tables[table_size];
  copy_tables(w, tables);
  __syncthreads();
  const int groups = (p.width + 7) / 8, t = blockIdx.x * 256 + threadIdx.x, row = t / groups, c = t % groups * 8;
  if (row >= p.rows) return;
  const int n = min(8, p.width - c);
  const int r = p.r0 + row, column = p.c0 + c;
  const i64 first = (i64)r * w.cols + column;
  quad q[2] = {};
  if (w.shift < 0) {
    const float scale = w.absmax[r] * (1.f / 127.f);
#pragma unroll
    for (int k = 0; k < 8; k++)
      if (k < n) q[k / 4].v[k % 4] = (float)(signed char)w.data[first + k] * scale;
  } else if (n == 8 && first % 8 == 0 && ((u64)w.data & 3) == 0) {
    const u32 four = *(const u32*)(w.data + first / 2);
    const float scale = block_scale(w, tables, block_of(w, r, column, first));
#pragma unroll
    for (int k = 0; k < 8; k++) q[k / 4].v[k % 4] = tables[four_bits(four, k)] * scale;
  } else {
#pragma unroll
    for (int k = 0; k < 8; k++)
      if (k < n) {
        const i64 i = first + k;
        const float scale = block_scale(w, tables, block_of(w, r, column + k, i));
        q[k / 4].v[k % 4] = tables[four_bits(w.data[i / 2], i % 2)] * scale;
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
