// half.cuh: four neighbouring bf16 numbers of a vector of any alignment, as quad.cuh has
// floats.
#pragma once
#include "mma.cuh"
#include "quad.cuh"

// aligned8 reports whether every pointer lies on 8 bytes.
template <class... P> DEV bool aligned8(P... p) { return (((u64)p | ...) & 7) == 0; }

// load4_bf16 reads p[i … i+3] widened, and 0 for elements from n on. vec: p is 8-byte
// aligned (i is a multiple of 4).
DEV quad load4_bf16(const u16* p, i64 i, i64 n, bool vec) {
  quad q;
  if (vec && i + 4 <= n) {
    u32 a, b;
    asm volatile("ld.global.v2.u32 {%0, %1}, [%2];" : "=r"(a), "=r"(b) : "l"(p + i) : "memory");
    q.v[0] = low_bf16(a), q.v[1] = high_bf16(a), q.v[2] = low_bf16(b), q.v[3] = high_bf16(b);
    return q;
  }
#pragma unroll
  for (int k = 0; k < 4; k++) {
    q.v[k] = 0.f;
    if (i + k < n) q.v[k] = as_float((u32)p[i + k] << 16);
  }
  return q;
}

// store4_bf16 writes q to p[i … i+3], nearest even, as far as n.
DEV void store4_bf16(u16* p, i64 i, i64 n, bool vec, const quad& q) {
  const u32 a = cvt_bf16x2(q.v[0], q.v[1]), b = cvt_bf16x2(q.v[2], q.v[3]);
  if (vec && i + 4 <= n) {
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(p + i), "r"(a), "r"(b) : "memory");
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (i + k < n) p[i + k] = (u16)((k < 2 ? a : b) >> (k % 2 * 16));
}

// The same by the type of the elements, for kernels that are compiled for both.
DEV quad load4(const u16* p, i64 i, i64 n, bool vec) { return load4_bf16(p, i, n, vec); }
DEV void store4(u16* p, i64 i, i64 n, bool vec, const quad& q) { store4_bf16(p, i, n, vec, q); }
// aligned4 reports whether four elements at every pointer are one access.
template <class... P> DEV bool aligned4(const float*, P... p) { return (((u64)p | ...) & 15) == 0; }
template <class... P> DEV bool aligned4(const u16*, P... p) { return (((u64)p | ...) & 7) == 0; }

#include "warp.cuh"

// store16_bf16 writes 16 neighbouring columns of a row from the layout of tensor-core sums:
// x0 and x1 are a lane's columns 2t and 2t + 1 (t = lane % 4) of the first 8, y0 and y1 of
// the second. A lane writes 8 bytes, four lanes a sector. c, the first of the columns, lies
// on 8 bytes; `room` of the columns exist. All lanes are here; rows that are not `there`
// are not written.
DEV void store16_bf16(u16* c, int room, bool there, float x0, float x1, float y0, float y1) {
  const u32 a = cvt_bf16x2(x0, x1), b = cvt_bf16x2(y0, y1);
  const int t = threadIdx.x % 4, lane = threadIdx.x % 32 - t + 2 * t % 4;
  const u32 a0 = shfl_idx(a, lane), b0 = shfl_idx(b, lane), a1 = shfl_idx(a, lane + 1), b1 = shfl_idx(b, lane + 1);
  const u32 first = t < 2 ? a0 : b0, second = t < 2 ? a1 : b1;
  if (!there) return;
  if (4 * t + 4 <= room) {
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(c + 4 * t), "r"(first), "r"(second) : "memory");
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (4 * t + k < room) c[4 * t + k] = (u16)((k < 2 ? first : second) >> (k % 2 * 16));
}
