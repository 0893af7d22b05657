// float32 to bf16 and back: cast.go says how it rounds.
//
// A thread owns two groups of four elements, 1024 apart: 16 bytes of float32 and 8 of
// bf16 an access, so that both sides' requests are full sectors.
//
// Floor: 6 bytes an element at the memory's bandwidth. Not measured on a GPU.
// v1  16- and 8-byte accesses, two groups in flight
#include "../dev/half.cuh"

KERNEL __launch_bounds__(256) cast_narrow(const float* x, u16* y, i64 n) {
  const i64 i = (i64)blockIdx.x * 2048 + threadIdx.x * 4;
  const bool vx = aligned16(x), vy = aligned8(y);
  quad q[2];
#pragma unroll
  for (int j = 0; j < 2; j++) q[j] = load4(x, i + 1024 * j, n, vx);
#pragma unroll
  for (int j = 0; j < 2; j++) store4_bf16(y, i + 1024 * j, n, vy, q[j]);
}

KERNEL __launch_bounds__(256) cast_widen(const u16* x, float* y, i64 n) {
  const i64 i = (i64)blockIdx.x * 2048 + threadIdx.x * 4;
  const bool vx = aligned8(x), vy = aligned16(y);
  quad q[2];
#pragma unroll
  for (int j = 0; j < 2; j++) q[j] = load4_bf16(x, i + 1024 * j, n, vx);
#pragma unroll
  for (int j = 0; j < 2; j++) store4(y, i + 1024 * j, n, vy, q[j]);
}
