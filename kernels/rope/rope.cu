// Rotary position embedding in place: rope.go defines it.
//
// A block rotates one token. Thread (x, y) owns planes x, x+32, … of heads y, y+8, …: a
// plane's cosine and sine are read once for all its heads. Products and sums are
// rounded one by one, as in the host twin: the bits are the same.
//
// rope_apply_half turns bf16, rounding to nearest even: a thread owns two planes that are
// neighbours, or one of interleaved coordinates, 4 bytes an access.
//
// Floor: x read and written once, at the memory's bandwidth. Not measured on a GPU.
// v1  half planes: full sectors where half a head is a multiple of 8; interleaved: pairs
#include "../dev/mma.cuh"

// cosine and sine are [positions, half]; width is heads * head_dim.
KERNEL __launch_bounds__(256) rope_apply(float* x, const int* __restrict__ pos, const float* __restrict__ cosine, const float* __restrict__ sine, int heads, int head_dim, int half, int interleaved, float sign) {
  const i64 row = (i64)pos[blockIdx.x] * half;
  float* token = x + (i64)blockIdx.x * heads * head_dim;
  const int step = interleaved ? 2 : 1, apart = interleaved ? 1 : half;
  for (int i = threadIdx.x; i < half; i += 32) {
    const float c = cosine[row + i], s = sine[row + i] * sign;
    for (int h = threadIdx.y; h < heads; h += 8) {
      float* p = token + h * head_dim + i * step;
      const float u = p[0], v = p[apart];
      p[0] = u * c - v * s;
      p[apart] = v * c + u * s;
    }
  }
}

// turn rotates a plane.
DEV void turn(float& u, float& v, float c, float s) {
  const float x = u * c - v * s;
  v = v * c + u * s;
  u = x;
}

// half, head_dim and x's place are even.
KERNEL __launch_bounds__(256) rope_apply_half(u16* x, const int* __restrict__ pos, const float* __restrict__ cosine, const float* __restrict__ sine, int heads, int head_dim, int half, int interleaved, float sign) {
  const i64 row = (i64)pos[blockIdx.x] * half;
  u16* token = x + (i64)blockIdx.x * heads * head_dim;
  if (interleaved) {
    for (int i = threadIdx.x; i < half; i += 32) {
      const float c = cosine[row + i], s = sine[row + i] * sign;
      for (int h = threadIdx.y; h < heads; h += 8) {
        u32* p = (u32*)(token + h * head_dim + 2 * i);
        float u = low_bf16(*p), v = high_bf16(*p);
        turn(u, v, c, s);
        *p = cvt_bf16x2(u, v);
      }
    }
    return;
  }
  for (int i = 2 * threadIdx.x; i < half; i += 64) {
    const float2 c = *(const float2*)(cosine + row + i), s = *(const float2*)(sine + row + i) * sign;
    for (int h = threadIdx.y; h < heads; h += 8) {
      u32 *p = (u32*)(token + h * head_dim + i), *q = (u32*)(token + h * head_dim + half + i);
      float u0 = low_bf16(*p), u1 = high_bf16(*p), v0 = low_bf16(*q), v1 = high_bf16(*q);
      turn(u0, v0, c.x, s.x);
      turn(u1, v1, c.y, s.y);
      *p = cvt_bf16x2(u0, u1);
      *q = cvt_bf16x2(v0, v1);
    }
  }
}
