// Causal attention with a soft cap on the scores (gemma): apart from attention.cu, as the
// hyperbolic tangents are most of its text.
#include "backward.cuh"
#include "forward.cuh"

KERNEL __launch_bounds__(threads, 3) attention_forward_32_capped(arguments p) { forward<32, 64, true>(p); }
KERNEL __launch_bounds__(threads, 3) attention_forward_64_capped(arguments p) { forward<64, 64, true>(p); }
KERNEL __launch_bounds__(threads, 2) attention_forward_128_capped(arguments p) { forward<128, 32, true>(p); }
KERNEL __launch_bounds__(threads, 2) attention_backward_q_32_capped(arguments p) { backward_q<32, true>(p); }
KERNEL __launch_bounds__(threads, 2) attention_backward_q_64_capped(arguments p) { backward_q<64, true>(p); }
KERNEL __launch_bounds__(threads, 1) attention_backward_q_128_capped(arguments p) { backward_q<128, true>(p); }
KERNEL __launch_bounds__(threads, 2) attention_backward_kv_32_capped(arguments p) { backward_kv<32, true>(p); }
KERNEL __launch_bounds__(threads, 2) attention_backward_kv_64_capped(arguments p) { backward_kv<64, true>(p); }
KERNEL __launch_bounds__(threads, 1) attention_backward_kv_128_capped(arguments p) { backward_kv<128, true>(p); }
