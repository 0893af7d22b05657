// out' += R' g' for the sparse matrix of gradproj.go (sjlt): each row of R has s entries,
// one in each of s ranges of columns.
//
// A block takes one range (or 1024 columns of it), 8192 rows and 32 samples; its sums,
// [columns][32], stay in shared memory. A warp owns every 16th column and goes through the
// rows in their order, a sample a lane: no atomics, and a sum's order is that of the host
// twin, whose bits it has.
//
// Floor, 8B LoRA r = 16, 64 samples: the gradients read once for each 1024 columns of a
// range, 4 P 64 = 11 GB times s = 4 at dim 4096, from memory or the L2: 13 ms at 3.35 TB/s.
// Not measured on a GPU.
// v1  512 threads, 64 rows a stage, the next one on its way in registers; places drawn for
//     512 rows at once. ptxas 13.0: 40 registers, no spills, up to 147 KiB: 1 block a
//     multiprocessor. No bank conflicts, gradients read once a block (TestMatrixCounters).
#include "../dev/philox.cuh"
#include "../dev/vote.cuh"
#include "../dev/warp.cuh"
#include "matrix.cuh"

constexpr int block_rows = 8192;  // rows of a sum; aligned in the gradient
constexpr int stage_rows = 64;
constexpr int threads = 512;
constexpr int pitch = 33;
constexpr u32 nowhere = 0xffffffffu;

extern __shared__ __align__(16) float sums[];  // [columns][32], the samples of column c rotated by c

// gridDim.x is entries * chunks: chunks of `columns` columns of an entry's range.
KERNEL __launch_bounds__(512, 1) gradproj_sjlt(matrix_product p, int entries, int columns, int chunks) {
  __shared__ float tiles[2][stage_rows * pitch];
  __shared__ u32 plan[threads];  // column * 2, plus 1 where the entry is negative
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int entry = blockIdx.x / chunks;
  const u32 lo = (u64)entry * p.dim / entries, range = (u32)((u64)(entry + 1) * p.dim / entries) - lo;
  const u32 begin = blockIdx.x % chunks * columns;
  const int width = min(columns, (int)range - (int)begin);
  if (width <= 0) return;
  const matrix_rows rows(p, block_rows);
  const int i0 = blockIdx.z * 32;

  for (int i = threadIdx.x; i < width * 32; i += threads) sums[i] = 0;
  // Of a stage a thread copies four rows of one sample: 8 lanes a line of 128 bytes, and
  // the transposed stores meet no bank twice.
  const int sample = warp / 2 * 4 + lane / 8, quad = lane % 8 + warp % 2 * 8;
  const float* g = p.gamma + (i64)(i0 + sample) * p.rows + rows.offset + quad * 4;
  const bool there = i0 + sample < p.n;
  float4 x = {0, 0, 0, 0};
  if (there) x = *(const float4*)g;
  for (int s = 0; s < rows.count / stage_rows; s++) {
    float* tile = tiles[s % 2];
#pragma unroll
    for (int j = 0; j < 4; j++) tile[(4 * quad + j) * pitch + sample] = x[j];
    if (s % (threads / stage_rows) == 0) {
      if (s > 0) __syncthreads();  // all are done with the plan
      const u64 row = rows.first + s * stage_rows + threadIdx.x;
      u32 c[4] = {(u32)row, (u32)(row >> 32), (u32)entry / 4, 2};
      philox(c, p.keys);
      const u32 w = entry % 4 < 2 ? (entry % 4 ? c[1] : c[0]) : (entry % 4 > 2 ? c[3] : c[2]);
      const u32 column = (u32)((u64)(w >> 1) * range >> 31) - begin;
      plan[threadIdx.x] = column < width ? column << 1 | (w & 1) : nowhere;
    }
    __syncthreads();
    g += stage_rows;
    if (there && (s + 1) * stage_rows < rows.count) x = *(const float4*)g;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const u32 place = plan[s % (threads / stage_rows) * stage_rows + 32 * half + lane];
      u32 mine = ballot(place != nowhere && (place >> 1) % 16 == warp);
      for (; mine; mine &= mine - 1) {
        const u32 r = __builtin_ctz(mine), e = shfl_idx(place, r), column = e >> 1;
        const float v = tile[(32 * half + r) * pitch + lane];
        sums[column * 32 + (lane + column) % 32] += e & 1 ? -v : v;
      }
    }
  }
  __syncthreads();
  for (int i = warp; i < 32 && i0 + i < p.n; i += threads / 32) {
    float* partial = p.partial + ((i64)blockIdx.y * p.n + i0 + i) * p.dim + lo + begin;
    for (int c = lane; c < width; c += 32) partial[c] = sums[c * 32 + (i + c) % 32];
  }
}
