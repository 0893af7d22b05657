// math.cuh: float32 functions without libdevice, every operation rounded by itself, so
// that a GPU and the interpreter give the same bits. Errors are in units of the last
// place, measured over all of the range by dev_test.go.
#pragma once
#include "cuda.cuh"

DEV float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEV float fmax(float a, float b) { return __builtin_fmaxf(a, b); }
DEV float abs(float a) { return __builtin_fabsf(a); }
DEV float sqrt(float a) { return __builtin_sqrtf(a); }  // sqrt.rn

constexpr float infinity = __builtin_inff();

// exp: below 1 ulp where the result is normal. x = n ln2 + f with |f| <= ln2/2, the
// polynomial is a minimax fit of exp(f), 2^n comes in two factors so that neither end
// overflows. NaN stays NaN.
DEV float exp(float x) {
  const float shift = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer
  x = x > 89.f ? 89.f : x;         // 2^128 * exp(f) is infinite, as it should be
  x = x < -104.f ? -104.f : x;     // below half of the smallest number
  float n = fma(x, 1.44269504f, shift) - shift;
  float f = fma(n, -0.693145752f, x);  // ln2 in two parts, the first with room for n
  f = fma(n, -1.42860677e-6f, f);
  float r = 1.37805939e-3f;
  r = fma(r, f, 8.37312452e-3f);
  r = fma(r, f, 4.16695364e-2f);
  r = fma(r, f, 1.66664720e-1f);
  r = fma(r, f, 4.99999851e-1f);
  r = fma(r, f, 1.f);
  r = fma(r, f, 1.f);
  int i = (int)n, h = i >> 1;
  return r * as_float((u32)(h + 127) << 23) * as_float((u32)(i - h + 127) << 23);
}

// log of a positive normal number: below 1 ulp. a = m 2^e with m in [2/3, 4/3).
DEV float log(float a) {
  int e = (int)((bits(a) - 0x3f2aaaabu) & 0xff800000u);
  float m = as_float(bits(a) - (u32)e) - 1.f, k = (float)(e >> 23), s = m * m;
  float r = -0.130310059f, t = 0.140869141f;
  r = fma(r, s, -0.121483512f);
  t = fma(t, s, 0.139814854f);
  r = fma(r, s, -0.166846126f);
  t = fma(t, s, 0.200120345f);
  r = fma(r, s, -0.249996200f);
  r = fma(t, m, r);
  r = fma(r, m, 0.333331972f);
  r = fma(r, m, -0.5f);
  r = fma(r, s, m);
  return fma(k, 0.693147182f, r);
}

// sigmoid is 1/(1+exp(-x)).
DEV float sigmoid(float x) { return 1.f / (1.f + exp(-x)); }

// tanh: an odd polynomial near 0, 1 - 2/(exp(2|x|)+1) elsewhere.
DEV float tanh(float x) {
  float a = abs(x);
  if (a < 0.55f) {
    float s = x * x;
    float r = -0.00627260748f;
    r = fma(r, s, 0.0210702531f);
    r = fma(r, s, -0.0538518652f);
    r = fma(r, s, 0.1333258f);
    r = fma(r, s, -0.333333164f);
    return fma(r * s, x, x);
  }
  float t = 1.f - 2.f / (exp(2.f * a) + 1.f);
  return as_float(bits(t) | (bits(x) & 0x80000000u));
}
