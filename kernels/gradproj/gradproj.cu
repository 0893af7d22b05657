// Per-sample LoRA gradients, their Adam direction and their product with a random sign
// matrix: gradproj.go says what is computed and which bit of which Philox call is which
// sign.
//
// form_a, form_b    a sample's dA and dB, tiles of the product over its tokens (gemm)
// split_*           the Adam direction, rounded where the host twin rounds; the square norm;
//                   and the numbers in a form the tensor cores take: three bf16 planes
//                   whose sum is the float32, or one f16 plane where gradients are rounded
//                   to float16 anyway. No digit is lost.
// signs_*           out' = R' g': a warp multiplies 32 columns of R with 64 samples. The
//                   signs are made in the registers that mma.m16n8k16 takes them from: word
//                   s of a call holds the signs of one 16-row step, byte i those of
//                   register i. Nothing of R is ever in memory.
// add_blocks        adds the blocks of 16384 rows, in their order
// norms             adds the partial norms
//
// In a group of 16 rows the planes hold rows 0 8 1 9 2 10 ... 7 15: then the two signs of
// a register are 16 bits apart in the word, and a register costs a shift and a lop3.
//
// Floor: 2 P dim n FLOP, times 3 with three planes, at the tensor cores' rate. Integer
// instructions for an entry of R: 2.0, addresses included (interpreter; and + xor are one
// lop3). Not measured on a GPU.
// v1  256 columns and 64 samples a block, 64-row stages, two in flight. bf16: 128
//     registers, 48 KiB, no spills, 2 blocks a multiprocessor, 192 mma in a loop of 523
//     instructions; f16: 128 registers, 16 KiB, 64 mma of 288. No bank conflicts.
#include "../dev/async.cuh"
#include "../dev/mma.cuh"
#include "../dev/philox.cuh"
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

// signed_product is the arguments of signs_*.
struct signed_product {
  const u16* planes;  // [Planes][samples][rows]
  float* partial;     // [row blocks][samples][dim]
  i64 first, rows;    // as in block
  int samples, dim;
  u32 key0, key1;
};

constexpr int block_rows = 16384;  // rows summed before the blocks are added up; aligned in the gradient
constexpr int stage_rows = 64;

// load_stage copies 64 rows of Samples samples: rows of 128 bytes, whose 16-byte chunks are
// mixed with the sample so that ldmatrix meets no bank twice.
template <int Samples, int Planes> DEV void load_stage(u32 dst, const u16* planes, int samples, u32 rows) {
  asm volatile("" : "+r"(samples), "+r"(rows));  // or the offsets are kept in registers
#pragma unroll
  for (int j = 0; j < (Samples * Planes * 8 + 255) / 256; j++) {
    const int c = threadIdx.x + 256 * j, line = c / 8, chunk = c % 8;
    if (Samples * Planes * 8 % 256 && line >= Samples * Planes) break;
    cp_async_16(dst + line * 128 + ((chunk ^ (line % 8)) << 4), planes + (u64)(line / Samples * samples + line % Samples) * rows + chunk * 8, 16);
  }
}

// Samples is a multiple of 16. A warp: 32 columns of R, all samples of the block.
template <int Samples, int Planes> DEV void signs(const signed_product& p) {
  constexpr int stage = Samples * Planes * 128;
  __shared__ __align__(128) u8 memory[2 * stage];
  const u32 base = shared_address(memory);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int column = blockIdx.x * 256 + warp * 32;
  const u16* planes = p.planes + (i64)blockIdx.z * Samples * p.rows;
  const i64 number = p.first / block_rows + blockIdx.y;  // of the block of rows
  const i64 from = number * block_rows > p.first ? number * block_rows : p.first;
  const i64 end = p.first + p.rows, until = (number + 1) * block_rows < end ? (number + 1) * block_rows : end;
  const int stages = (int)(until - from) / stage_rows;
  const u32 tile0 = (u32)(from / stage_rows);
  planes += from - p.first;

  float acc[2][Samples / 8][4];
#pragma unroll
  for (int m = 0; m < 2; m++)
#pragma unroll
    for (int n = 0; n < Samples / 8; n++)
#pragma unroll
      for (int l = 0; l < 4; l++) acc[m][n][l] = 0;
  const u32 mask = 0x80008000u, one = Planes == 1 ? 0xbc00bc00u : 0xbf80bf80u;  // -1, -1

  load_stage<Samples, Planes>(base, planes, p.samples, p.rows);
  cp_async_commit();
  u32 words[4];
  for (int s = 0; s < stages; s++) {
    cp_async_wait<0>();
    __syncthreads();
    if (s + 1 < stages) load_stage<Samples, Planes>(base + (s + 1) % 2 * stage, planes + (s + 1) * stage_rows, p.samples, p.rows);
    cp_async_commit();
    if (s % 2 == 0) {  // a lane's call serves two stages: lanes 16 to 31 the second
      words[0] = tile0 + s + lane / 16, words[1] = 0;  // gradients are shorter than 2^38
      words[2] = 8 * (column / 16 + lane / 8 % 2) + lane % 8, words[3] = 0;
      philox(words, p.key0, p.key1);
    }
    const u32 lines = base + s % 2 * stage;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      u32 a[2][4];
#pragma unroll
      for (int m = 0; m < 2; m++) {
        const u32 w = shfl_idx(words[k], s % 2 * 16 + m * 8 + lane / 4) >> (lane % 4);
        a[m][0] = ((w << 15) & mask) ^ one, a[m][1] = ((w << 7) & mask) ^ one;
        a[m][2] = ((w << 11) & mask) ^ one, a[m][3] = ((w << 3) & mask) ^ one;
      }
#pragma unroll
      for (int l = Planes - 1; l >= 0; l--)  // the smallest first
#pragma unroll
        for (int n = 0; n < Samples / 16; n++) {
          u32 b[4];
          const int line = l * Samples + n * 16 + lane / 16 * 8 + lane % 8, chunk = 2 * k + lane / 8 % 2;
          ldmatrix_x4(b, lines + line * 128 + ((chunk ^ (line % 8)) << 4));
#pragma unroll
          for (int m = 0; m < 2; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
              if (Planes == 1) {
                mma_m16n8k16_f16(acc[m][2 * n + h], a[m], b[2 * h], b[2 * h + 1]);
              } else {
                mma_m16n8k16_bf16(acc[m][2 * n + h], a[m], b[2 * h], b[2 * h + 1]);
              }
            }
        }
    }
  }
  float* partial = p.partial + ((i64)blockIdx.y * p.samples + blockIdx.z * Samples) * p.dim;
#pragma unroll
  for (int m = 0; m < 2; m++)
#pragma unroll
    for (int n = 0; n < Samples / 8; n++)
#pragma unroll
      for (int l = 0; l < 4; l++) {
        const int c = column + 16 * m + lane / 4 + l / 2 * 8, i = 8 * n + lane % 4 * 2 + l % 2;
        if (c < p.dim) partial[(i64)i * p.dim + c] = acc[m][n][l];
      }
}

KERNEL __launch_bounds__(256, 2) gradproj_signs_bf16_64(signed_product p) { signs<64, 3>(p); }
KERNEL __launch_bounds__(256, 2) gradproj_signs_bf16_16(signed_product p) { signs<16, 3>(p); }
KERNEL __launch_bounds__(256, 2) gradproj_signs_f16_64(signed_product p) { signs<64, 1>(p); }
KERNEL __launch_bounds__(256, 2) gradproj_signs_f16_16(signed_product p) { signs<16, 1>(p); }

// out[i][c] += scale * the sum over blocks of partial[block][i][c].
KERNEL __launch_bounds__(256) gradproj_add_blocks(const float* partial, int blocks, i64 stride, float* out, i64 n, float scale) {
  const i64 at = (i64)blockIdx.x * 256 + threadIdx.x;
  if (at >= n) return;
  float sum = 0;
#pragma unroll 4
  for (int b = 0; b < blocks; b++) sum += partial[b * stride + at];
  out[at] += scale * sum;
}
