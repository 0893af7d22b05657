// Rotary position embedding in place: rope.go defines it.
//
// A block rotates one token. Thread (x, y) owns planes x, x+32, … of heads y, y+8, …: a
// plane's cosine and sine are read once for all its heads. Products and sums are
// rounded one by one, as in the host twin: the bits are the same.
//
// Floor: x read and written once, at the memory's bandwidth. Not measured on a GPU.
// v1  half planes: full sectors where half a head is a multiple of 8; interleaved: pairs
#include "../dev/cuda.cuh"

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
