// Per-sample LoRA gradients, their Adam direction, and the sums around their product with
// a random matrix: gradproj.go defines the computation; signs.cu multiplies by signs,
// sparse.cu and gaussian.cu by the other matrices.
//
// form_*      a tile of one sample's dA or dB: the product over its tokens, the direction
//             (rounded where the host twin rounds), the square norm, and what the projection
//             takes: three bf16 planes whose sum is the float32 (without loss), one bf16
//             or f16 plane where gradients are rounded to it anyway, the float32 for
//             projections without signs, or out itself. f32: multiplications by fma;
//             bf16: on the tensor cores, the factors rounded to bf16.
// split_*     the same for a gradient that exists already
// norms       adds the partial norms
// add_blocks  adds the blocks of rows of a projection, in their order
// inner       inner products with vectors in memory; add_inner adds their blocks of rows
//
// Floor, 8B LoRA r = 16 (P = 41.9 M, in + out = P/16), 64 samples of 400 tokens, H100
// (3.35 TB/s, 67 TFLOP/s f32, 989 bf16), a batch:
//   form      reads X and DY: 4 (P/16) 25600 bytes = 268 GB, 80 ms; 2 P 25600 FLOP = 2.1 TFLOP,
//             32 ms by fma and 2 ms on the tensor cores: bound by memory either way
//   moments   8 P bytes once where the 64 samples of a tile run together (they are neighbours
//             in the grid), 0.1 ms; a sample each 8 P 64 = 21 GB, 6 ms
//   gradient  written and read as float32: 2 * 4 P 64 = 21 GB, 6.4 ms: what is saved here
//   planes    written and read: 12 P 64 = 32 GB, 9.6 ms, or 4 P 64 = 11 GB, 3.2 ms
//   product   2 P dim 64 FLOP, dim 8192: 44 TFLOP, 44 ms, times 3 with three planes
// Forming inside of the product's block would save the planes too, but each of dim/512
// blocks would form its tile again: 80 ms become seconds. So: form, direction and split in
// one kernel, the product in another.
// Not measured on a GPU.
// v1  form_a and form_b by the tile of gemm.cu, gradients to memory, split_* after them
// v2  one kernel, 16 x 256 or 32 x 128 entries a block; the tile is transposed in shared memory.
//     16-byte copies, two stages of 16 tokens. ptxas 13.0: 79 registers, 36 KiB (78 and 22
//     KiB for ranks above 16), no spills, 3 blocks of 256 threads a multiprocessor; by
//     tokens of 16: 4 mma in 16 x 32 a warp, or 256 fma a thread. What the loop reads of
//     shared memory has no bank conflicts, and bytes are the least of the tiles
//     (TestFormCounters); handing the tile over does, 300 wavefronts a tile.
#include "form.cuh"

#define FORM(name, To, Bf16)                                                             \
  KERNEL __launch_bounds__(256, 3) gradproj_form_##name##_16(block b) { form<To, 16, Bf16>(b); } \
  KERNEL __launch_bounds__(256, 3) gradproj_form_##name##_32(block b) { form<To, 32, Bf16>(b); }
FORM(f32_to_bf16x3, to_bf16x3, false)
FORM(f32_to_f16, to_f16, false)
FORM(f32_to_f32, to_f32, false)
FORM(f32_to_out, to_out, false)
FORM(bf16_to_bf16, to_bf16, true)
FORM(bf16_to_f32, to_f32, true)
FORM(bf16_to_out, to_out, true)

constexpr int split_rows = 4096;  // rows of gamma of a block

template <int To> DEV void split(const block& b) {
  __shared__ double part[8];
  double norm = 0;
  for (int j = 0; j < split_rows / 512; j++) {
    const i64 word = ((i64)blockIdx.y * split_rows + j * 512) / 2 + threadIdx.x;
    pair p;
    p.row = word / 8 * 16 + word % 8;
    const i64 e = p.row - (b.offset - b.first);
    p.x = e >= 0 && e < b.size, p.y = e + 8 >= 0 && e + 8 < b.size;
    if (p.x || p.y) norm += finish<To>(b, 0, p, p.x ? b.g[e] : 0, p.y ? b.g[e + 8] : 0);
  }
  if (blockIdx.y == 0) zero<To>(b, 0);
  norm = block_sum<256>(norm, part);
  if (threadIdx.x == 0) b.norms[blockIdx.y] = norm;
}

KERNEL __launch_bounds__(256) gradproj_split_to_bf16x3(block b) { split<to_bf16x3>(b); }
KERNEL __launch_bounds__(256) gradproj_split_to_bf16(block b) { split<to_bf16>(b); }
KERNEL __launch_bounds__(256) gradproj_split_to_f16(block b) { split<to_f16>(b); }
KERNEL __launch_bounds__(256) gradproj_split_to_f32(block b) { split<to_f32>(b); }
KERNEL __launch_bounds__(256) gradproj_split_to_out(block b) { split<to_out>(b); }

// norms[i] += the sum of sample i's parts: a warp a sample.
KERNEL __launch_bounds__(32) gradproj_norms(const double* parts, int n, double* norms) {
  double sum = 0;
  for (int j = threadIdx.x; j < n; j += 32) sum += parts[(i64)blockIdx.x * n + j];
  sum = warp_sum(sum);
  if (threadIdx.x == 0) norms[blockIdx.x] += sum;
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

// inner is the arguments of gradproj_inner.
struct inner {
  const float* gamma;    // [n][rows], the block's rows from `head` on
  const float* vectors;  // [dim], `stride` apart: the block's part
  double* partial;       // [n][dim][gridDim.x]
  i64 head, rows, size, stride;
  int n, dim;
};

constexpr int inner_rows = 16384;  // of a block

// Inner products of four samples with four vectors, float64: each element read serves four.
KERNEL __launch_bounds__(256) gradproj_inner(inner p) {
  __shared__ double part[8];
  const int i0 = blockIdx.y * 4, k0 = blockIdx.z * 4;
  const i64 begin = (i64)blockIdx.x * inner_rows, end = begin + inner_rows < p.size ? begin + inner_rows : p.size;
  double sum[4][4] = {};
  for (i64 e = begin + threadIdx.x; e < end; e += 256) {
    float x[4], y[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      x[j] = i0 + j < p.n ? p.gamma[(i64)(i0 + j) * p.rows + p.head + e] : 0;
      y[j] = k0 + j < p.dim ? p.vectors[(i64)(k0 + j) * p.stride + e] : 0;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int k = 0; k < 4; k++) sum[i][k] = __builtin_fma((double)x[i], (double)y[k], sum[i][k]);
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const double total = block_sum<256>(sum[i][k], part);
      if (threadIdx.x == 0 && i0 + i < p.n && k0 + k < p.dim) p.partial[((i64)(i0 + i) * p.dim + k0 + k) * gridDim.x + blockIdx.x] = total;
    }
}

// out[i] += the sum of its parts.
KERNEL __launch_bounds__(256) gradproj_add_inner(const double* partial, int parts, float* out, i64 n) {
  const i64 at = (i64)blockIdx.x * 256 + threadIdx.x;
  if (at >= n) return;
  double sum = 0;
  for (int j = 0; j < parts; j++) sum += partial[at * parts + j];
  out[at] += (float)sum;
}
