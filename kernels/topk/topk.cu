// The k smallest entries of every row: topk.go says in which order.
//
// A block of 256 threads owns a row of at most 8192 entries. They become unsigned keys of
// the same order in shared memory; four rounds over histograms of eight bits find the k-th
// smallest key; a last pass writes what lies below it, and of those equal to it the first,
// by column. What is above `bound`, the largest that is worth keeping, and NaN are no keys.
//
// Floor: 4 bytes an entry once, 8 bytes an entry kept. Not measured on a GPU.
// v1  32 registers, no spills, 32 KiB of keys, so 4 blocks of full width a multiprocessor;
//     a row is read once, in full sectors (interpreter)
#include "../dev/vote.cuh"
#include "../dev/warp.cuh"

constexpr int threads = 256;
constexpr u32 none = 0xffffffff;

struct row_block {
  const float* x;      // [rows, ld]
  const float* bound;  // [rows]
  float* value;        // [rows, k] out
  int* column;         // [rows, k] out
  int* count;          // [rows] out
  int ld, columns, k;
};

extern __shared__ u32 keys[];

// key_of orders as floats do, 0 and -0 alike.
DEV u32 key_of(float v, float bound) {
  if (!(v <= bound)) return none;
  const u32 b = bits(v + 0.f);
  return b >> 31 ? ~b : b | 0x80000000u;
}

struct choice { u32 bin, need; };

// find_bin: the bin in which the need-th entry lies, and which one of it that is; bin 256
// if there are fewer. By the first warp.
DEV void find_bin(const u32* bins, u32 need, choice* out) {
  const u32 lane = threadIdx.x;
  u32 mine = 0;
#pragma unroll
  for (int j = 0; j < 8; j++) mine += bins[8 * lane + j];
  u32 upto = mine;
#pragma unroll
  for (u32 d = 1; d < 32; d *= 2) {
    const u32 below = shfl_idx(upto, lane - d);
    if (lane >= d) upto += below;
  }
  u32 before = upto - mine;
  if (lane == 31 && upto < need) *out = {256, 0};
  if (before >= need || upto < need) return;
  u32 j = 8 * lane;
  while (before + bins[j] < need) before += bins[j++];
  *out = {j, need - before};
}

KERNEL __launch_bounds__(threads) topk_smallest(row_block p) {
  __shared__ u32 bins[256], below[2][8], equal[2][8];
  __shared__ choice chosen;
  const int tid = threadIdx.x, warp = tid / 32, lane = tid % 32;
  const float* x = p.x + (i64)blockIdx.x * p.ld;
  const float bound = p.bound[blockIdx.x];
  for (int i = tid; i < p.columns; i += threads) keys[i] = key_of(x[i], bound);

  u32 limit = 0, mask = 0, need = p.k;
#pragma unroll 1
  for (int shift = 24; shift >= 0; shift -= 8) {
    bins[tid] = 0;
    __syncthreads();
    for (int i = tid; i < p.columns; i += threads)
      if (keys[i] != none && (keys[i] & mask) == limit) count_one(&bins[keys[i] >> shift & 255]);
    __syncthreads();
    if (warp == 0) find_bin(bins, need, &chosen);
    __syncthreads();
    need = chosen.need;
    if (chosen.bin == 256) {  // all are kept
      limit = none;
      break;
    }
    limit |= chosen.bin << shift, mask |= 255u << shift;
  }

  float* value = p.value + (i64)blockIdx.x * p.k;
  int* column = p.column + (i64)blockIdx.x * p.k;
  u32 all_below = 0, all_equal = 0;  // before this pass
  for (int i0 = 0, side = 0; i0 < p.columns; i0 += threads, side ^= 1) {
    const int i = i0 + tid;
    const u32 key = i < p.columns ? keys[i] : none;
    const bool less = key < limit, same = key == limit && key != none;
    const u32 b = ballot(less), e = ballot(same), lower = (1u << lane) - 1;
    if (lane == 0) below[side][warp] = __builtin_popcount(b), equal[side][warp] = __builtin_popcount(e);
    __syncthreads();
    u32 my_below = all_below + __builtin_popcount(b & lower), my_equal = all_equal + __builtin_popcount(e & lower);
#pragma unroll
    for (int w = 0; w < 8; w++) {
      if (w < warp) my_below += below[side][w], my_equal += equal[side][w];
      all_below += below[side][w], all_equal += equal[side][w];
    }
    if (less || (same && my_equal < need)) {
      const u32 at = my_below + (my_equal < need ? my_equal : need);
      value[at] = x[i], column[at] = i;
    }
  }
  if (tid == 0) p.count[blockIdx.x] = (int)(all_below + (all_equal < need ? all_equal : need));
}
