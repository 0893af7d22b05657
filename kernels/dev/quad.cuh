// quad.cuh: four neighbouring floats of a vector of any alignment.
//
// A thread owns elements 4i … 4i+3 whatever the alignment, so a sum's order does not
// depend on it; 16-byte accesses where all pointers allow them, single ones elsewhere.
#pragma once
#include "cuda.cuh"

struct quad { float v[4]; };

// One 16-byte access each. clang cuts its own vector loads up again where it can merge
// a part with another branch's.
DEV quad ld_global_v4(const float* p) {
  quad q;
  asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(q.v[0]), "=f"(q.v[1]), "=f"(q.v[2]), "=f"(q.v[3]) : "l"(p) : "memory");
  return q;
}
DEV void st_global_v4(float* p, const quad& q) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(p), "f"(q.v[0]), "f"(q.v[1]), "f"(q.v[2]), "f"(q.v[3]) : "memory");
}

// aligned16 reports whether every pointer lies on 16 bytes.
template <class... P> DEV bool aligned16(P... p) { return (((u64)p | ...) & 15) == 0; }

// load4 reads p[i … i+3], and fill for elements from n on. vec: p is 16-byte aligned
// (i is a multiple of 4).
DEV quad load4(const float* p, i64 i, i64 n, bool vec, float fill = 0.f) {
  if (vec && i + 4 <= n) return ld_global_v4(p + i);
  quad q;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    q.v[k] = fill;
    if (i + k < n) q.v[k] = p[i + k];
  }
  return q;
}

// store4 writes q to p[i … i+3], as far as n.
DEV void store4(float* p, i64 i, i64 n, bool vec, quad q) {
  if (vec && i + 4 <= n) {
    st_global_v4(p + i, q);
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; k++)
    if (i + k < n) p[i + k] = q.v[k];
}
