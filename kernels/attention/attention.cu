// Causal attention, float32, heads of up to 32, 64 and 128: forward.cuh, backward.cuh.
#include "backward.cuh"
#include "forward.cuh"

// attention_delta: delta[h][t] = do . o, a warp a (token, head).
KERNEL __launch_bounds__(256) attention_delta(const float* d_o, const float* o, float* delta, int tokens, int heads, int head_dim) {
  const i64 at = (i64)blockIdx.x * 8 + threadIdx.x / 32;
  if (at >= (i64)tokens * heads) return;
  d_o += at * head_dim, o += at * head_dim;
  float sum = 0;
  for (int d = threadIdx.x % 32; d < head_dim; d += 32) sum = fma(d_o[d], o[d], sum);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) delta[at % heads * tokens + at / heads] = sum;
}

KERNEL __launch_bounds__(threads, 3) attention_forward_32(arguments p) { forward<32, 64, false>(p); }
KERNEL __launch_bounds__(threads, 3) attention_forward_64(arguments p) { forward<64, 64, false>(p); }
KERNEL __launch_bounds__(threads, 2) attention_forward_128(arguments p) { forward<128, 32, false>(p); }
KERNEL __launch_bounds__(threads, 2) attention_backward_q_32(arguments p) { backward_q<32, false>(p); }
KERNEL __launch_bounds__(threads, 2) attention_backward_q_64(arguments p) { backward_q<64, false>(p); }
KERNEL __launch_bounds__(threads, 1) attention_backward_q_128(arguments p) { backward_q<128, false>(p); }
KERNEL __launch_bounds__(threads, 2) attention_backward_kv_32(arguments p) { backward_kv<32, false>(p); }
KERNEL __launch_bounds__(threads, 2) attention_backward_kv_64(arguments p) { backward_kv<64, false>(p); }
KERNEL __launch_bounds__(threads, 1) attention_backward_kv_128(arguments p) { backward_kv<128, false>(p); }
