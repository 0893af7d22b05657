// Elementwise functions: pointwise.go lists them.
//
// A thread owns four neighbouring elements, loads all it needs and then stores: outputs
// may take the place of inputs. The Gaussian tail is exp(-z^2/2) times a polynomial of
// degree 10 in q = K/(K+|z|), interpolated at Chebyshev's nodes (relative error 4e-10
// before rounding): it keeps its digits far out, where 1 + erf has none left.
//
// Floor: forward 2 floats an element moved, backward 3, at the memory's bandwidth. Not
// measured on a GPU.
// v1  16-byte accesses
#include "../dev/math.cuh"
#include "../dev/quad.cuh"

DEV i64 first() { return ((i64)blockIdx.x * 256 + threadIdx.x) * 4; }

// Each function gives its value at z, and its slope there.

struct relu2 {
  DEV float value(float z, float) { return fmax(z, 0.f) * fmax(z, 0.f); }
  DEV float slope(float z, float) { return 2.f * fmax(z, 0.f); }
};

struct clamp {
  DEV float value(float z, float bound) { return z < -bound ? -bound : z > bound ? bound : z; }
  DEV float slope(float z, float bound) { return -bound <= z && z <= bound ? 1.f : 0.f; }
};

struct gelu {
  // cumulative is Phi(z); e = exp(-z^2/2).
  DEV float cumulative(float z, float e) {
    const float q = 3.53553391f / (3.53553391f + abs(z));
    float p = -0.0213506091f;
    p = fma(p, q, 0.137180105f);
    p = fma(p, q, -0.3469854f);
    p = fma(p, q, 0.417651653f);
    p = fma(p, q, -0.277662992f);
    p = fma(p, q, 0.220953733f);
    p = fma(p, q, 0.0289789718f);
    p = fma(p, q, 0.117526256f);
    p = fma(p, q, 0.110678762f);
    p = fma(p, q, 0.113037765f);
    p = fma(p, q, -8.25019833e-06f);
    return z < 0.f ? e * p : 1.f - e * p;
  }
  DEV float value(float z, float) { return z * cumulative(z, exp(-0.5f * z * z)); }
  DEV float slope(float z, float) {
    const float e = exp(-0.5f * z * z);
    return fma(0.398942280f * z, e, cumulative(z, e));
  }
};

struct gelu_tanh {
  static constexpr float scale = 1.5957691216057308f, cube = 0.044715f;  // 2 sqrt(2/pi)
  DEV float argument(float z) { return scale * z * (1.f + cube * z * z); }
  DEV float value(float z, float) { return z * sigmoid(argument(z)); }
  DEV float slope(float z, float) {
    const float a = argument(z), s = sigmoid(a), r = sigmoid(-a);
    // Far out the slope of the argument may be infinite, and nothing is left of it.
    return s * (1.f + (s * r != 0.f ? z * scale * (1.f + 3.f * cube * z * z) * r : 0.f));
  }
};

template <class F> DEV void forward(const float* x, float* out, float bound, i64 n) {
  bool vec = aligned16(x, out);
  quad q = load4(x, first(), n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) q.v[k] = F::value(q.v[k], bound);
  store4(out, first(), n, vec, q);
}

template <class F> DEV void backward(const float* dout, const float* x, float* dx, float bound, i64 n) {
  bool vec = aligned16(dout, x, dx);
  quad d = load4(dout, first(), n, vec), q = load4(x, first(), n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) q.v[k] = d.v[k] * F::slope(q.v[k], bound);
  store4(dx, first(), n, vec, q);
}

KERNEL __launch_bounds__(256) pointwise_forward_relu2(const float* x, float* out, float bound, i64 n) { forward<relu2>(x, out, bound, n); }
KERNEL __launch_bounds__(256) pointwise_forward_clamp(const float* x, float* out, float bound, i64 n) { forward<clamp>(x, out, bound, n); }
KERNEL __launch_bounds__(256) pointwise_forward_gelu(const float* x, float* out, float bound, i64 n) { forward<gelu>(x, out, bound, n); }
KERNEL __launch_bounds__(256) pointwise_forward_gelu_tanh(const float* x, float* out, float bound, i64 n) { forward<gelu_tanh>(x, out, bound, n); }
KERNEL __launch_bounds__(256) pointwise_backward_relu2(const float* dout, const float* x, float* dx, float bound, i64 n) { backward<relu2>(dout, x, dx, bound, n); }
KERNEL __launch_bounds__(256) pointwise_backward_clamp(const float* dout, const float* x, float* dx, float bound, i64 n) { backward<clamp>(dout, x, dx, bound, n); }
KERNEL __launch_bounds__(256) pointwise_backward_gelu(const float* dout, const float* x, float* dx, float bound, i64 n) { backward<gelu>(dout, x, dx, bound, n); }
KERNEL __launch_bounds__(256) pointwise_backward_gelu_tanh(const float* dout, const float* x, float* dx, float bound, i64 n) {
  backward<gelu_tanh>(dout, x, dx, bound, n);
}
