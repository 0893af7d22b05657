// Causal attention on bf16 for sm_90a, heads of 64 and 128, no soft cap:
// forward_hopper.cuh.
#include "forward_hopper.cuh"

#define MAPS const __grid_constant__ tensor_map q, const __grid_constant__ tensor_map k, const __grid_constant__ tensor_map v

KERNEL __launch_bounds__(threads, 1) attention_hopper_forward_64(MAPS, arguments p) { forward<64>(&q, &k, &v, p); }
KERNEL __launch_bounds__(threads, 1) attention_hopper_forward_128(MAPS, arguments p) { forward<128>(&q, &k, &v, p); }
