// out' = R' g' with signs made in the registers that mma.m16n8k16 takes them from, for any
// GPU since Ampere: signs.cuh has the signs, gradproj.cu writes the planes. A warp multiplies
// 32 columns of R with 64 samples (or 16, where there are no more).
//
// In a group of 16 rows the planes hold rows 0 8 1 9 2 10 ... 7 15, so that the two signs of
// a register are 16 bits apart in the word.
//
// Floor: 2 P dim n FLOP, times the number of planes, at the tensor cores' rate. Not measured
// on a GPU.
// v1  256 columns and 64 samples a block, 64-row stages, two in flight: 2.04 integer
//     instructions an entry of R, and + xor counted as one.
// v2  lop3 written out; the shift by the lane goes to the left, so that one of four
//     registers needs no other; addresses by additions; the keys of Philox's rounds as
//     operands: 1.9 with all integer instructions, those of loops and the epilogue too
//     (TestSignCounters). ptxas 13.0: 128 registers, 48 KiB, no spills, 2 blocks of 256
//     threads a multiprocessor, 192 mma in a loop of 437 instructions; one plane: 124, 16
//     KiB, 64 mma of 254.
#include "../dev/async.cuh"
#include "../dev/mma.cuh"
#include "signs.cuh"

// stage_loader copies 64 rows of the planes of Samples samples at a time: rows of 128 bytes,
// whose 16-byte chunks are mixed with the sample so that ldmatrix has no bank conflicts.
template <int Samples, int Planes> struct stage_loader {
  static constexpr int step = Samples < 32 ? Samples : 32;  // samples a pass of the block
  const u16* p;                                             // this thread's first chunk
  i64 samples, plane;                                       // from one pass to the next
  int first, n;                                             // first of the lines of this thread
  u32 dst;

  DEV_METHOD stage_loader(const signed_product& s, i64 offset) {
    const int sample = blockIdx.z * Samples + threadIdx.x / 8, chunk = threadIdx.x % 8;
    first = sample, n = s.n;
    p = s.planes + sample * s.rows + offset + chunk * 8;
    samples = step * s.rows, plane = s.plane - (Samples - step) * s.rows;
    dst = threadIdx.x / 8 * 128 + ((chunk ^ (threadIdx.x / 8 % 8)) << 4);
  }

  DEV_METHOD void load(u32 stage) {
    const u16* q = p;
    stage += dst;
    if (Samples >= 32 || threadIdx.x < Samples * 8)
#pragma unroll
      for (int l = 0; l < Planes; l++) {
#pragma unroll
        for (int i = 0; i < Samples; i += step) {
          // A sample that is not there: zeros, and the address of no account.
          cp_async_16(stage, (l * Samples + i) * 128, q, first + i < n ? 16 : 0);
          q += i + step < Samples ? samples : plane;
        }
      }
    p += stage_rows;
  }
};

template <bool F16> DEV void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  if (F16) {
    mma_m16n8k16_f16(d, a, b0, b1);
  } else {
    mma_m16n8k16_bf16(d, a, b0, b1);
  }
}

// Samples is a multiple of 16. A warp: 32 columns of R, all samples of the block.
template <int Samples, int Planes, bool F16> DEV void signs(const signed_product& p) {
  constexpr int stage = Samples * Planes * 128;
  __shared__ __align__(128) u8 memory[2 * stage];
  const u32 base = shared_address(memory);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int column = blockIdx.x * 256 + warp * 32;
  const row_block rows(p);
  stage_loader<Samples, Planes> loader(p, rows.offset);

  float acc[2][Samples / 8][4];
#pragma unroll
  for (int m = 0; m < 2; m++)
#pragma unroll
    for (int n = 0; n < Samples / 8; n++)
#pragma unroll
      for (int l = 0; l < 4; l++) acc[m][n][l] = 0;

  // Lane l of an ldmatrix: line l/16*8 + l%8 of 16 samples, chunk 2k + l/8%2.
  const u32 line = (lane / 16 * 8 + lane % 8) * 128;
  u32 at[4];
#pragma unroll
  for (int k = 0; k < 4; k++) at[k] = line + (((2 * k + lane / 8 % 2) ^ (lane % 8)) << 4);

  loader.load(base);
  cp_async_commit();
  u32 words[4], lines = base, from = lane / 4;
  for (u32 s = 0; s < rows.stages; s++) {
    cp_async_wait<0>();
    __syncthreads();
    if (s + 1 < rows.stages) loader.load(lines == base ? base + stage : base);
    cp_async_commit();
    // A lane's call serves two stages: lanes 16 to 31 the second.
    if (lines == base) draw(words, p, rows, s + lane / 16, 8 * (column / 16 + lane / 8 % 2) + lane % 8);
#pragma unroll
    for (int k = 0; k < 4; k++) {
      u32 a[2][4];
#pragma unroll
      for (int m = 0; m < 2; m++) expand(a[m], words[k], from + 8 * m, F16 ? minus_one_f16 : minus_one_bf16);
      const u32 q = lines + at[k];
#pragma unroll
      for (int l = Planes - 1; l >= 0; l--)  // the smallest first
#pragma unroll
        for (int n = 0; n < Samples / 16; n++) {
          u32 b[4];
          ldmatrix_x4(b, q, (l * Samples + n * 16) * 128);
#pragma unroll
          for (int m = 0; m < 2; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) mma<F16>(acc[m][2 * n + h], a[m], b[2 * h], b[2 * h + 1]);
        }
    }
    lines = lines == base ? base + stage : base, from ^= 16;
  }
  const int i0 = blockIdx.z * Samples + lane % 4 * 2, c0 = column + lane / 4;
  float* partial = p.partial + ((i64)rows.number * p.n + i0) * p.dim + c0;
#pragma unroll
  for (int n = 0; n < Samples / 8; n++)
#pragma unroll
    for (int l = 0; l < 4; l++)
#pragma unroll
      for (int m = 0; m < 2; m++)
        if (c0 + 16 * m + l / 2 * 8 < p.dim && i0 + 8 * n + l % 2 < p.n) partial[(i64)(8 * n + l % 2) * p.dim + 16 * m + l / 2 * 8] = acc[m][n][l];
}

KERNEL __launch_bounds__(256, 2) gradproj_signs_bf16x3_64(signed_product p) { signs<64, 3, false>(p); }
KERNEL __launch_bounds__(256, 2) gradproj_signs_bf16x3_16(signed_product p) { signs<16, 3, false>(p); }
KERNEL __launch_bounds__(256, 2) gradproj_signs_bf16_64(signed_product p) { signs<64, 1, false>(p); }
KERNEL __launch_bounds__(256, 2) gradproj_signs_bf16_16(signed_product p) { signs<16, 1, false>(p); }
KERNEL __launch_bounds__(256, 2) gradproj_signs_f16_64(signed_product p) { signs<64, 1, true>(p); }
KERNEL __launch_bounds__(256, 2) gradproj_signs_f16_16(signed_product p) { signs<16, 1, true>(p); }
