// Per-sample LoRA gradients, their Adam direction and their product with a random sign
// matrix: gradproj.go says what is computed and which bit of which Philox call is which
// sign.
//
// form_a, form_b    a sample's dA and dB, tiles of the product over its tokens (gemm)
// split_*           the Adam direction, rounded where the host twin rounds; the square norm;
//                   and the numbers in a form the tensor cores take: three bf16 planes
//                   whose sum is the float32, or one f16 plane where gradients are rounded
//                   to float16 anyway. No digit is lost. signs.cu multiplies them with R.
// add_blocks        adds the blocks of 16384 rows, in their order
// norms             adds the partial norms
//
// Not measured on a GPU.
#include "../dev/async.cuh"
#include "../dev/mma.cuh"
#include "../dev/warp.cuh"
#include "../gemm/tile.cuh"

// segment turns p into the product of sample blockIdx.z, whose result is `size` floats
// after the one before; it returns the number of its tokens.
DEV int segment(problem& p, const int* segments, i64 size) {
  const int lo = segments[blockIdx.z], hi = segments[blockIdx.z + 1];
  p.a += (i64)lo * p.lda, p.b += (i64)lo * p.ldb, p.c += blockIdx.z * size;
  return hi - lo;
}

KERNEL __launch_bounds__(256, 3) gradproj_form_a(problem p, const int* segments, i64 size) {
  const int tokens = segment(p, segments, size);
  multiply<TN, 32, 128, 16, 32>(p, 0, tokens);
}
KERNEL __launch_bounds__(256, 3) gradproj_form_b(problem p, const int* segments, i64 size) {
  const int tokens = segment(p, segments, size);
  multiply<TN, 128, 32, 16, 32>(p, 0, tokens);
}

// block is the part of the flattened gradient that a call brings.
struct block {
  const float* g;                       // [n, size]
  const float *m, *v;                   // the moments, or null: g as it is
  i64 offset, size;                     // its first row, its rows
  i64 first, rows;                      // the rows of the planes: multiples of 128
  u16* planes;                          // [3 or 1][samples][rows]
  float* out;                           // add_*: [n, dim]
  double* norms;                        // [n][gridDim.x]
  int n, samples, dim, half;            // samples: n rounded up
  float c[8];                           // direction of gradient_cpu.go
};

constexpr int split_rows = 4096;  // rows of a block of split

DEV float direction(float g, float m, float v, const float (&c)[8]) {
  const float numerator = (g * c[0] + m * c[1]) * c[4];
  const float denominator = (v * c[3] + g * g * c[2]) * c[5] + c[6];
  return numerator / (sqrt(denominator) + c[7]);
}

DEV float f16_to_f32(u32 h) {
  float r;
  asm("{\n\t.reg .b16 h;\n\tcvt.u16.u32 h, %1;\n\tcvt.f32.f16 %0, h;\n\t}" : "=f"(r) : "r"(h & 0xffff));
  return r;
}

// gamma is row e of the block (0 beyond it) of sample i, transformed.
DEV float gamma(const block& b, int i, i64 e) {
  if (e < 0 || e >= b.size || i >= b.n) return 0;
  float g = b.g[i * b.size + e];
  if (b.m) g = direction(g, b.m[e], b.v[e], b.c);
  return g;
}

enum { bf16_planes, f16_plane, add_to_out };

// A thread takes rows r and r+8 of a group of 16; a block 4096 rows of a sample.
template <int To> DEV void split(const block& b) {
  __shared__ double part[8];
  const int i = blockIdx.y;
  double norm = 0;
  for (int j = 0; j < split_rows / 512; j++) {
    const i64 word = ((i64)blockIdx.x * split_rows + j * 512) / 2 + threadIdx.x;
    const i64 row = word / 8 * 16 + word % 8;  // of the planes
    if (row >= b.rows) break;
    const i64 e = b.first + row - b.offset;
    float x = gamma(b, i, e), y = gamma(b, i, e + 8);
    u32* plane = (u32*)b.planes + ((i64)i * b.rows >> 1) + word;
    if (To == f16_plane || (To == add_to_out && b.half)) {
      const u32 h = cvt_f16x2(x, y);
      x = f16_to_f32(h), y = f16_to_f32(h >> 16);
      if (To == f16_plane) *plane = h;
    }
    if (To == bf16_planes) {
      const i64 next = (i64)b.samples * b.rows >> 1;
      float p = x, q = y;
#pragma unroll
      for (int l = 0; l < 3; l++) {
        const u32 h = cvt_bf16x2(p, q);
        plane[l * next] = h;
        p -= low_bf16(h), q -= high_bf16(h);
      }
    }
    if (To == add_to_out) {
      float* out = b.out + (i64)i * b.dim + b.offset + e;
      if (e >= 0 && e < b.size) out[0] += x;
      if (e + 8 >= 0 && e + 8 < b.size) out[8] += y;
    }
    norm = __builtin_fma((double)x, (double)x, norm);
    norm = __builtin_fma((double)y, (double)y, norm);
  }
  norm = block_sum<256>(norm, part);
  if (threadIdx.x == 0 && i < b.n) b.norms[(i64)i * gridDim.x + blockIdx.x] = norm;
}

KERNEL __launch_bounds__(256) gradproj_split_bf16(block b) { split<bf16_planes>(b); }
KERNEL __launch_bounds__(256) gradproj_split_f16(block b) { split<f16_plane>(b); }
KERNEL __launch_bounds__(256) gradproj_add(block b) { split<add_to_out>(b); }

// norms[i] = the sum of sample i's parts: a warp a sample.
KERNEL __launch_bounds__(32) gradproj_norms(const double* parts, int n, double* norms) {
  double sum = 0;
  for (int j = threadIdx.x; j < n; j += 32) sum += parts[(i64)blockIdx.x * n + j];
  sum = warp_sum(sum);
  if (threadIdx.x == 0) norms[blockIdx.x] = sum;
}

// out[i][c] += scale * the sum over blocks of partial[block][i][c].
KERNEL __launch_bounds__(256) gradproj_add_blocks(const float* partial, int blocks, i64 stride, float* out, i64 n, float scale) {
  const i64 at = (i64)blockIdx.x * 256 + threadIdx.x;
  if (at >= n) return;
  float sum = 0;
#pragma unroll 4
  for (int b = 0; b < blocks; b++) sum += partial[b * stride + at];
  out[at] += scale * sum;
}
