// Level-1 operations and sums over a whole float32 vector: reduce.go says what each
// computes. No alignment is asked for.
//
// Elementwise kernels: a thread owns four neighbouring floats; 1024 floats a block.
// reduce_sum_squares_partial: a block of 256 threads owns 4096 floats of one of many vectors
// and leaves their sum, in float64, in partial[block]; reduce_sum_partials adds those of a
// vector in one block. Both go over fixed trees: the bits depend on the length alone.
//
// Floor: bytes moved over the memory's bandwidth. Not measured on a GPU.
// v1  16-byte accesses, four loads in flight a thread in the sum
// v2  the sums of 128 vectors in two launches, and their clearing in one: a model has hundreds
//     of gradients
#include "../dev/list.cuh"
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

constexpr int most = 128;  // vectors of a launch

struct vector {
  float* x;
  i64 n;
};

struct vectors {
  vector items[most];
  int first[most];  // blocks
  double* partial;
};

// x = 0 for all vectors.
KERNEL __launch_bounds__(256) reduce_clear(vectors l) {
  const int own = vector_of(l.first, blockIdx.x);
  const vector x = l.items[own];
  const i64 block = blockIdx.x - l.first[own];
  const bool vec = aligned16(x.x);
#pragma unroll
  for (int j = 0; j < 4; j++) store4(x.x, block * leaf + 4 * (threadIdx.x + 256 * j), x.n, vec, quad{});
}

KERNEL __launch_bounds__(256) reduce_sum_squares_partial(vectors l) {
  __shared__ double part[8];
  const int own = vector_of(l.first, blockIdx.x);
  const vector x = l.items[own];
  const i64 block = blockIdx.x - l.first[own];
  bool vec = aligned16(x.x);
  quad q[4];
#pragma unroll
  for (int j = 0; j < 4; j++) q[j] = load4(x.x, block * leaf + 4 * (threadIdx.x + 256 * j), x.n, vec);
  double sum = 0;
#pragma unroll
  for (int j = 0; j < 4; j++)
#pragma unroll
    for (int k = 0; k < 4; k++) {
      double v = q[j].v[k];
      sum = __builtin_fma(v, v, sum);
    }
  sum = block_sum<256>(sum, part);
  if (threadIdx.x == 0) l.partial[blockIdx.x] = sum;
}

struct sums {
  int first[most + 1];  // partial sums of each vector, behind one another
  const double* partial;
  double* sum;
};

// A block's sum is that of its vector's partial sums.
KERNEL __launch_bounds__(256) reduce_sum_partials(sums l) {
  __shared__ double part[8];
  const int begin = l.first[blockIdx.x], end = l.first[blockIdx.x + 1];
  double s = 0;
  for (int i = begin + threadIdx.x; i < end; i += 256) s += l.partial[i];
  s = block_sum<256>(s, part);
  if (threadIdx.x == 0) l.sum[blockIdx.x] = s;
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
