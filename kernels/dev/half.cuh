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
