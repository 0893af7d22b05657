// gpt_oss' gate, elementwise: clamped.go defines it. As in swiglu.cu a thread owns
// four neighbouring elements, loads all it needs and then stores.
//
// Floor: forward 3 floats an element moved, backward 5, at the memory's bandwidth. Not
// measured on a GPU.
// v1  16-byte accesses
#include "../dev/math.cuh"
#include "../dev/quad.cuh"

DEV i64 first() { return ((i64)blockIdx.x * 256 + threadIdx.x) * 4; }
DEV float least(float a, float b) { return -fmax(-a, -b); }

KERNEL __launch_bounds__(256) clamped_forward(const float* gate, const float* up, float* out, i64 n, float alpha, float limit) {
  bool vec = aligned16(gate, up, out);
  quad g = load4(gate, first(), n, vec), u = load4(up, first(), n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const float z = least(g.v[k], limit), y = least(fmax(u.v[k], -limit), limit);
    u.v[k] = (y + 1.f) * z * sigmoid(alpha * z);
  }
  store4(out, first(), n, vec, u);
}

KERNEL __launch_bounds__(256) clamped_backward(const float* dout, const float* gate, const float* up, float* dgate, float* dup, i64 n, float alpha, float limit) {
  bool vec = aligned16(dout, gate, up, dgate, dup);
  quad d = load4(dout, first(), n, vec), g = load4(gate, first(), n, vec), u = load4(up, first(), n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) {
    const float z = least(g.v[k], limit), y = least(fmax(u.v[k], -limit), limit), s = sigmoid(alpha * z), ds = d.v[k] * s;
    const bool below = g.v[k] <= limit, within = u.v[k] >= -limit && u.v[k] <= limit;
    g.v[k] = below ? ds * (y + 1.f) * (1.f + alpha * z * sigmoid(-alpha * z)) : 0.f;
    u.v[k] = within ? ds * z : 0.f;
  }
  store4(dgate, first(), n, vec, g);
  store4(dup, first(), n, vec, u);
}
