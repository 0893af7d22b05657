// bf16.cuh: what the kernels of the bf16 head share; bf16.cu tells the whole.
#pragma once
#include "../dev/math.cuh"
#include "../dev/mma.cuh"

// The product of labelled rows with the vocabulary, tile by tile.
struct head {
  u16* e;             // [rows, ld] exp(z - the tile's largest), or null: losses alone
  float* stats;       // [3, tiles, row_ld]: a row's largest logit in the tile, Σ exp(z - largest), and if `smooth` Σ z
  float* hit;         // [row_ld] the target's logit
  const int* target;  // [rows]
  int rows, hidden, vocab, ld, row_ld, smooth;
  float scale, cap;
};

constexpr float log2e = 1.44269504f, ln2 = 0.693147181f;

// Relative errors of 2^-22: a fraction of what the rounding to bf16 costs.
DEV float exp2_fast(float x) { return __nvvm_ex2_approx_ftz_f(x); }
DEV float exp_fast(float x) { return exp2_fast(x * log2e); }
DEV float log_fast(float x) { return ln2 * __nvvm_lg2_approx_ftz_f(x); }

// tanh of math.cuh without a branch, by the approximate exponential and reciprocal.
DEV float tanh_fast(float x) {
  const float a = abs(x), s = x * x;
  float r = -0.00627260748f;
  r = fma(r, s, 0.0210702531f);
  r = fma(r, s, -0.0538518652f);
  r = fma(r, s, 0.1333258f);
  r = fma(r, s, -0.333333164f);
  const float near = fma(r * s, x, x), far = fma(-2.f, __nvvm_rcp_approx_ftz_f(exp_fast(2.f * a) + 1.f), 1.f);
  return a < 0.55f ? near : as_float(bits(far) | (bits(x) & 0x80000000u));
}

template <bool Capped> DEV float capped(float z, float cap) { return Capped ? cap * tanh_fast(z * (1.f / cap)) : z; }
