// Causal attention on bf16 for sm_90a, heads of 64 and 128, no soft cap:
// forward_hopper.cuh, backward_hopper.cuh.
#include "backward_hopper.cuh"
#include "forward_hopper.cuh"

// Keys: rows of a tile of keys in the sum of dq, as many as leave room in the registers.
#define MAP(x) const __grid_constant__ tensor_map x
#define ATTENTION(D, Keys)                                                                                                             \
  KERNEL __launch_bounds__(threads, 1) attention_hopper_forward_##D(MAP(q), MAP(k), MAP(v), arguments p) { forward<D>(&q, &k, &v, p); } \
  KERNEL __launch_bounds__(256, 4) attention_hopper_terms_##D(const u16* d_o, const float* o, arguments p) { make_terms<D>(d_o, o, p); } \
  KERNEL __launch_bounds__(256, 4) attention_hopper_half_terms_##D(const u16* d_o, const u16* o, arguments p) { make_terms<D>(d_o, o, p); } \
  KERNEL __launch_bounds__(threads, 1) attention_hopper_backward_q_##D(MAP(q), MAP(d_o), MAP(k), MAP(v), arguments p) {                \
    backward_q<D, Keys, 3>(&q, &d_o, &k, &v, p);                                                                                       \
  }                                                                                                                                    \
  KERNEL __launch_bounds__(threads, 1) attention_hopper_backward_kv_##D(MAP(q), MAP(d_o), MAP(k), MAP(v), arguments p) {               \
    backward_kv<D, 64, 3>(&q, &d_o, &k, &v, p);                                                                                        \
  }
ATTENTION(64, 96)
ATTENTION(128, 64)
