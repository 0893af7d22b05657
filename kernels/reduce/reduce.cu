// Level-1 operations and sums over a whole float32 vector: reduce.go says what each
// computes. No alignment is asked for.
//
// Elementwise kernels: a thread owns four neighbouring floats; 1024 floats a block.
// reduce_sum_squares_partial: a block of 256 threads owns 4096 floats and leaves their
// sum, in float64, in partial[block]; reduce_sum_partials adds those in one block. Both
// go over fixed trees: the bits depend on the length alone.
//
// Floor: bytes moved over the memory's bandwidth. Not measured on a GPU.
// v1  16-byte accesses, four loads in flight a thread in the sum
#include "../dev/quad.cuh"
#include "../dev/warp.cuh"

DEV i64 first() { return ((i64)blockIdx.x * 256 + threadIdx.x) * 4; }

KERNEL __launch_bounds__(256) reduce_fill(float* x, i64 n, float a) {
  store4(x, first(), n, aligned16(x), quad{{a, a, a, a}});
}

KERNEL __launch_bounds__(256) reduce_scale(float* x, i64 n, float a) {
  bool vec = aligned16(x);
  quad q = load4(x, first(), n, vec);
  for (float& v : q.v) v *= a;
  store4(x, first(), n, vec, q);
}

// dst += a x, rounded once.
KERNEL __launch_bounds__(256) reduce_axpy(float* dst, const float* x, i64 n, float a) {
  bool vec = aligned16(dst, x);
  quad q = load4(dst, first(), n, vec), p = load4(x, first(), n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) q.v[k] = fma(a, p.v[k], q.v[k]);
  store4(dst, first(), n, vec, q);
}

constexpr int leaf = 4096;  // floats of a block

KERNEL __launch_bounds__(256) reduce_sum_squares_partial(const float* x, i64 n, double* partial) {
  __shared__ double part[8];
  bool vec = aligned16(x);
  quad q[4];
#pragma unroll
  for (int j = 0; j < 4; j++) q[j] = load4(x, (i64)blockIdx.x * leaf + 4 * (threadIdx.x + 256 * j), n, vec);
  double sum = 0;
#pragma unroll
  for (int j = 0; j < 4; j++)
#pragma unroll
    for (int k = 0; k < 4; k++) {
      double v = q[j].v[k];
      sum = __builtin_fma(v, v, sum);
    }
  sum = block_sum<256>(sum, part);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// sum[0] = the sum of partial[0 … n-1], in one block.
KERNEL __launch_bounds__(256) reduce_sum_partials(const double* partial, int n, double* sum) {
  __shared__ double part[8];
  double s = 0;
  for (int i = threadIdx.x; i < n; i += 256) s += partial[i];
  s = block_sum<256>(s, part);
  if (threadIdx.x == 0) *sum = s;
}

// *bad becomes 1 if an element is NaN or infinite; the caller clears it.
KERNEL __launch_bounds__(256) reduce_finite(const float* x, i64 n, u32* bad) {
  bool vec = aligned16(x);
  u32 found = 0;  // carries of an exponent of all ones, plus one, into the sign
#pragma unroll
  for (int j = 0; j < 4; j++) {
    quad q = load4(x, (i64)blockIdx.x * leaf + 4 * (threadIdx.x + 256 * j), n, vec);
#pragma unroll
    for (int k = 0; k < 4; k++) found |= (bits(q.v[k]) & 0x7f800000u) + 0x00800000u;
  }
  if (found >> 31) asm volatile("red.global.or.b32 [%0], 1;" ::"l"(bad) : "memory");
}
