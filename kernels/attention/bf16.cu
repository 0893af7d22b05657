// Causal attention on bf16, heads of up to 32, 64 and 128: forward_bf16.cuh,
// backward_bf16.cuh.
#include "backward_bf16.cuh"
#include "forward_bf16.cuh"

// pair_at is an element of o, float32 or bf16, and its right neighbour.
DEV float2 pair_at(const float* o) { return *(const float2*)o; }
DEV float2 pair_at(const u16* o) {
  const u32 x = *(const u32*)o;
  return float2{low_bf16(x), high_bf16(x)};
}

// delta[h][t] = do . o, a warp a (token, head).
template <class T> DEV void delta_of(const u16* d_o, const T* o, float* delta, int tokens, int heads, int head_dim) {
  const i64 at = (i64)blockIdx.x * 8 + threadIdx.x / 32;
  if (at >= (i64)tokens * heads) return;
  d_o += at * head_dim;
  float sum = 0;
  for (int d = 2 * (threadIdx.x % 32); d < head_dim; d += 64) {
    const u32 g = *(const u32*)(d_o + d);
    const float2 x = pair_at(o + at * head_dim + d);
    sum = fma(high_bf16(g), x.y, fma(low_bf16(g), x.x, sum));
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) delta[at % heads * tokens + at / heads] = sum;
}
KERNEL __launch_bounds__(256) attention_delta_bf16(const u16* d_o, const float* o, float* delta, int tokens, int heads, int head_dim) {
  delta_of(d_o, o, delta, tokens, heads, head_dim);
}
KERNEL __launch_bounds__(256) attention_delta_half(const u16* d_o, const u16* o, float* delta, int tokens, int heads, int head_dim) {
  delta_of(d_o, o, delta, tokens, heads, head_dim);
}

#define ATTENTION(D, Forward, Queries, Keys)                                                                              \
  KERNEL __launch_bounds__(threads, Forward) attention_bf16_forward_##D(arguments p) { forward<D, false>(p); }             \
  KERNEL __launch_bounds__(threads, Queries) attention_bf16_backward_q_##D(arguments p) { backward_q<D, false>(p); }       \
  KERNEL __launch_bounds__(threads, Keys) attention_bf16_backward_kv_##D(arguments p) { backward_kv<D, false>(p); }
ATTENTION(32, 3, 3, 3)
ATTENTION(64, 2, 3, 2)
ATTENTION(128, 2, 2, 2)
