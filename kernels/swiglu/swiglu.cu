// The gate of a gated MLP, elementwise: swiglu.go defines it. The kernels named half read and
// write bf16 (half.go).
//
// A thread owns four neighbouring elements, loads all it needs and then stores: outputs
// may take the place of inputs. exp is good to 1 ulp, quotients are correctly rounded.
// 1 - sigma(a) is computed as sigma(-a), without cancellation.
//
// Floor: forward 3 numbers an element moved, backward 5, at the memory's bandwidth. Not
// measured on a GPU.
// v1  16-byte accesses; 8-byte ones of bf16
#include "../dev/half.cuh"
#include "../dev/math.cuh"

constexpr float gelu_scale = 1.5957691216057308f;  // 2 sqrt(2/pi)
constexpr float gelu_cube = 0.044715f;

DEV i64 first() { return ((i64)blockIdx.x * 256 + threadIdx.x) * 4; }

// argument of sigma: both activations are z sigma(a(z)).
template <bool Gelu> DEV float argument(float z) { return Gelu ? gelu_scale * z * (1.f + gelu_cube * z * z) : z; }

template <bool Gelu, class T> DEV void forward(const T* gate, const T* up, T* out, i64 n) {
  bool vec = aligned4(gate, gate, up, out);
  quad g = load4(gate, first(), n, vec), u = load4(up, first(), n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) u.v[k] *= g.v[k] * sigmoid(argument<Gelu>(g.v[k]));
  store4(out, first(), n, vec, u);
}

template <bool Gelu, class T> DEV void backward(const T* dout, const T* gate, const T* up, T* dgate, T* dup, i64 n) {
  bool vec = aligned4(dout, dout, gate, up, dgate, dup);
  quad d = load4(dout, first(), n, vec), g = load4(gate, first(), n, vec), u = load4(up, first(), n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const float z = g.v[k], a = argument<Gelu>(z), s = sigmoid(a), ds = d.v[k] * s;
    float bend;
    if (Gelu) {
      const float r = sigmoid(-a);
      // Far out the slope of the argument may be infinite, and nothing is left of it.
      bend = s * r != 0.f ? z * gelu_scale * (1.f + 3.f * gelu_cube * z * z) * r : 0.f;
    } else {
      bend = z * (1.f - s);
    }
    g.v[k] = ds * u.v[k] * (1.f + bend);
    u.v[k] = ds * z;
  }
  store4(dgate, first(), n, vec, g);
  store4(dup, first(), n, vec, u);
}

KERNEL __launch_bounds__(256) swiglu_forward_silu(const float* gate, const float* up, float* out, i64 n) { forward<false>(gate, up, out, n); }
KERNEL __launch_bounds__(256) swiglu_forward_gelu(const float* gate, const float* up, float* out, i64 n) { forward<true>(gate, up, out, n); }
KERNEL __launch_bounds__(256) swiglu_backward_silu(const float* dout, const float* gate, const float* up, float* dgate, float* dup, i64 n) {
  backward<false>(dout, gate, up, dgate, dup, n);
}
KERNEL __launch_bounds__(256) swiglu_backward_gelu(const float* dout, const float* gate, const float* up, float* dgate, float* dup, i64 n) {
  backward<true>(dout, gate, up, dgate, dup, n);
}
KERNEL __launch_bounds__(256) swiglu_half_forward_silu(const u16* gate, const u16* up, u16* out, i64 n) { forward<false>(gate, up, out, n); }
KERNEL __launch_bounds__(256) swiglu_half_forward_gelu(const u16* gate, const u16* up, u16* out, i64 n) { forward<true>(gate, up, out, n); }
KERNEL __launch_bounds__(256) swiglu_half_backward_silu(const u16* dout, const u16* gate, const u16* up, u16* dgate, u16* dup, i64 n) {
  backward<false>(dout, gate, up, dgate, dup, n);
}
KERNEL __launch_bounds__(256) swiglu_half_backward_gelu(const u16* dout, const u16* gate, const u16* up, u16* dgate, u16* dup, i64 n) {
  backward<true>(dout, gate, up, dgate, dup, n);
}
