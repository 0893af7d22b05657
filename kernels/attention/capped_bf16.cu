// Causal attention on bf16 with a soft cap on the scores (gemma): apart from bf16.cu, as
// the hyperbolic tangents are most of its text.
#include "backward_bf16.cuh"
#include "forward_bf16.cuh"

#define ATTENTION(D, Blocks)                                                                                                 \
  KERNEL __launch_bounds__(threads, Blocks) attention_bf16_forward_##D##_capped(arguments p) { forward<D, true>(p); }         \
  KERNEL __launch_bounds__(threads, Blocks) attention_bf16_backward_q_##D##_capped(arguments p) { backward_q<D, true>(p); }   \
  KERNEL __launch_bounds__(threads, Blocks) attention_bf16_backward_kv_##D##_capped(arguments p) { backward_kv<D, true>(p); }
ATTENTION(32, 2)
ATTENTION(64, 2)
ATTENTION(128, 2)
