// warp.cuh: exchange between the lanes of a warp and the warps of a block. Sums go over
// fixed trees: the same values in the same lanes give the same bits.
#pragma once
#include "math.cuh"

DEV u32 shfl_bfly(u32 v, u32 lanes) {
  u32 r;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(r) : "r"(v), "r"(lanes));
  return r;
}
DEV float shfl_bfly(float v, u32 lanes) { return as_float(shfl_bfly(bits(v), lanes)); }
DEV double shfl_bfly(double v, u32 lanes) {
  u64 b = __builtin_bit_cast(u64, v);
  return __builtin_bit_cast(double, (u64)shfl_bfly((u32)(b >> 32), lanes) << 32 | shfl_bfly((u32)b, lanes));
}
DEV u32 shfl_idx(u32 v, u32 lane) {
  u32 r;
  asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(r) : "r"(v), "r"(lane));
  return r;
}

// group_sum adds the values of groups of Lanes neighbouring lanes; every lane has the
// sum, bit for bit the same since a + b = b + a.
template <int Lanes, class T> DEV T group_sum(T v) {
#pragma unroll
  for (int m = Lanes / 2; m > 0; m >>= 1) v += shfl_bfly(v, m);
  return v;
}
template <class T> DEV T warp_sum(T v) { return group_sum<32>(v); }

template <int Lanes> DEV float group_max(float v) {
#pragma unroll
  for (int m = Lanes / 2; m > 0; m >>= 1) v = fmax(v, shfl_bfly(v, m));
  return v;
}
DEV float warp_max(float v) { return group_max<32>(v); }

// block_sum adds over all Threads of the block; every thread has the sum. part is
// shared memory for Threads/32 values, free again after the next barrier.
template <int Threads, class T> DEV T block_sum(T v, T* part) {
  v = warp_sum(v);
  if (Threads == 32) return v;
  __syncthreads();
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  T sum = part[0];
#pragma unroll
  for (int w = 1; w < Threads / 32; w++) sum += part[w];
  return sum;
}

template <int Threads> DEV float block_max(float v, float* part) {
  v = warp_max(v);
  if (Threads == 32) return v;
  __syncthreads();
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  float top = part[0];
#pragma unroll
  for (int w = 1; w < Threads / 32; w++) top = fmax(top, part[w]);
  return top;
}
