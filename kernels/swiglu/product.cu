// Gates that are no activation of an MLP, elementwise: out = up gate, or up sigma(gate).
//
// A thread owns four neighbouring elements, loads all it needs and then stores: outputs
// may take the place of inputs.
//
// Floor: forward 3 floats an element moved, backward 5, at the memory's bandwidth. Not
// measured on a GPU.
// v1  16-byte accesses
#include "../dev/math.cuh"
#include "../dev/quad.cuh"

DEV i64 first() { return ((i64)blockIdx.x * 256 + threadIdx.x) * 4; }

template <bool Sigmoid> DEV void forward(const float* gate, const float* up, float* out, i64 n) {
  bool vec = aligned16(gate, up, out);
  quad g = load4(gate, first(), n, vec), u = load4(up, first(), n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) u.v[k] *= Sigmoid ? sigmoid(g.v[k]) : g.v[k];
  store4(out, first(), n, vec, u);
}

template <bool Sigmoid> DEV void backward(const float* dout, const float* gate, const float* up, float* dgate, float* dup, i64 n) {
  bool vec = aligned16(dout, gate, up, dgate, dup);
  quad d = load4(dout, first(), n, vec), g = load4(gate, first(), n, vec), u = load4(up, first(), n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const float z = g.v[k], s = Sigmoid ? sigmoid(z) : z;
    g.v[k] = d.v[k] * u.v[k] * (Sigmoid ? s * sigmoid(-z) : 1.f);
    u.v[k] = d.v[k] * s;
  }
  store4(dgate, first(), n, vec, g);
  store4(dup, first(), n, vec, u);
}

KERNEL __launch_bounds__(256) product_forward_sigmoid(const float* gate, const float* up, float* out, i64 n) { forward<true>(gate, up, out, n); }
KERNEL __launch_bounds__(256) product_forward_plain(const float* gate, const float* up, float* out, i64 n) { forward<false>(gate, up, out, n); }
KERNEL __launch_bounds__(256) product_backward_sigmoid(const float* dout, const float* gate, const float* up, float* dgate, float* dup, i64 n) {
  backward<true>(dout, gate, up, dgate, dup, n);
}
KERNEL __launch_bounds__(256) product_backward_plain(const float* dout, const float* gate, const float* up, float* dgate, float* dup, i64 n) {
  backward<false>(dout, gate, up, dgate, dup, n);
}
