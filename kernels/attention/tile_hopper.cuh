// tile_hopper.cuh: what the attention kernels for sm_90a share. A block is a producer
// warpgroup, whose first warp brings tiles by TMA, and two consumer warpgroups of 64
// rows each that multiply them by wgmma.
//
// A tile is Rows x D bf16 of one head: D/64 boxes of Rows x 64 with 128-byte swizzle
// (dev/hopper.cuh). A box that reaches beyond its segment holds rows of the next one, and
// zeros beyond the last token. Such rows are masked where they are scores; where they
// meet zeros of p or ds in a product they are overwritten first (erase), as 0 times an
// infinity of a stranger is no 0.
#pragma once
#include "../dev/half.cuh"
#include "../dev/hopper.cuh"

constexpr int threads = 384, consumers = 256, block_rows = 128;
constexpr float log2e = 1.44269504f;

extern __shared__ __align__(1024) u8 memory[];

// As bf16_hopper.go packs them.
struct arguments {
  const float* lse;
  float* terms;
  void* out;
  float* out_lse;
  void *dq, *dk, *dv;
  // [n][4]: first and last+1 token of the segment, first row of the block, the block's
  // place among all blocks in the order of their rows.
  const int* units;
  int blocks, tokens, heads, kv_heads, window;
  float scale;
  int half;  // out and the gradients are bf16
};

// A block whose second half of rows lies beyond its segment has one consumer warpgroup:
// the other ends at once.
struct unit {
  int lo, hi, first, place, head;
  DEV_METHOD int active() const { return first + 64 < hi ? consumers : 128; }  // threads
};

// Blocks of the longest rows come first, for every head.
DEV unit unit_of(const arguments& p, int heads) {
  const int* u = p.units + 4 * (blockIdx.x / heads);
  return {u[0], u[1], u[2], u[3], (int)(blockIdx.x % heads)};
}

DEV float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

template <int Rows, int D> constexpr u32 tile_bytes = Rows * D * 2;

// load_tile has the tile of a head from token `first` on counted on bar.
template <int Rows, int D> DEV void load_tile(u32 dst, const tensor_map* m, int head, int first, u32 bar) {
#pragma unroll
  for (int i = 0; i < D / 64; i++) tma_load(dst + i * Rows * 128, m, head * D + 64 * i, first, bar);
}

// erase zeroes rows from `begin` on of a tile, by the consumers, of which `users` threads
// are here.
template <int Rows, int D> DEV void erase(u32 tile, int begin, int users) {
  u8* at = memory + (tile - shared_address(memory));
  for (int i = (threadIdx.x - 128) % users; i < (Rows - begin) * 8; i += users)
#pragma unroll
    for (int j = 0; j < D / 64; j++) *(uint4*)(at + j * Rows * 128 + begin * 128 + i * 16) = uint4{0, 0, 0, 0};
}

// A ring of Stages slots, each a `full` barrier that the producer's bytes complete and an
// `empty` one that every active consumer warp arrives at. Turn n of the ring is slot n % Stages.
template <int Stages> struct ring {
  u32 bars;
  DEV_METHOD u32 full(int n) const { return bars + n % Stages * 16; }
  DEV_METHOD u32 empty(int n) const { return bars + n % Stages * 16 + 8; }
  DEV_METHOD void init(int active) const {
    for (int i = 0; i < Stages; i++) mbarrier_init(bars + i * 16, 1), mbarrier_init(bars + i * 16 + 8, active / 32);
  }
  // The producer's turn: the slot is free, and `bytes` are to come.
  DEV_METHOD void acquire(int n, u32 bytes) const {
    mbarrier_wait(empty(n), n / Stages % 2 ^ 1);
    mbarrier_expect(full(n), bytes);
  }
  DEV_METHOD void wait(int n) const { mbarrier_wait(full(n), n / Stages % 2); }
  // What any lane has read of the slot is read.
  DEV_METHOD void release(int n) const {
    asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
    if (threadIdx.x % 32 == 0) mbarrier_arrive(empty(n));
  }
};

// scores: s = 64 rows of tile a, from row `row` on, . rows of tile b, contraction over D.
template <int D, int RowsA, int RowsB, int N> DEV void scores(float (&s)[N], u32 a, int row, u32 b) {
#pragma unroll
  for (int k = 0; k < D / 16; k++)
    wgmma<0, 0>(s, k_major(a + k / 4 * RowsA * 128 + row * 128 + k % 4 * 32), k_major(b + k / 4 * RowsB * 128 + k % 4 * 32), k > 0);
}

// add_products: sum += s . rows of tile b, contraction over its rows. s is packed.
template <int Rows, int N> DEV void add_products(float (&sum)[N], const u32 (&s)[Rows / 16][4], u32 b) {
#pragma unroll
  for (int k = 0; k < Rows / 16; k++) wgmma<1>(sum, s[k], mn_major(b + 2048 * k, Rows * 128), true);
}

// pack rounds a warpgroup's scores to bf16, as the left operand of a product.
template <int N> DEV void pack(u32 (&to)[N / 8][4], const float (&s)[N]) {
#pragma unroll
  for (int k = 0; k < N / 8; k++)
#pragma unroll
    for (int q = 0; q < 4; q++) to[k][q] = cvt_bf16x2(s[8 * k + 2 * q], s[8 * k + 2 * q + 1]);
}

// pin keeps the packing before the fence.
template <int N> DEV void pin(u32 (&a)[N][4]) {
#pragma unroll
  for (int k = 0; k < N; k++)
#pragma unroll
    for (int q = 0; q < 4; q++) asm volatile("" : "+r"(a[k][q])::"memory");
}

template <int N> DEV void zero(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) d[i] = 0;
}

// Sum d[i] of a warpgroup is of this row of its 64 and this column.
DEV int row_of(int i) { return threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4 + i / 2 % 2 * 8; }
DEV int column_of(int i) { return i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2; }

// store_rows writes scale[h] * sum to the warpgroup's rows from token `first` to `end`; `at`
// is the head's first element in dst, float32 or bf16.
template <int D> DEV void store_rows(void* dst, int half, int at, i64 ld, int first, int end, const float (&sum)[D / 2], const float (&scale)[2]) {
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int t = first + row_of(2 * h);
    if (half) {
      u16* c = (u16*)dst + at + t * ld;
#pragma unroll
      for (int j = 0; j < D / 8; j += 2) {
        const float *x = sum + 4 * j + 2 * h, *y = x + 4;
        store16_bf16(c + 8 * j, 16, t < end, scale[h] * x[0], scale[h] * x[1], scale[h] * y[0], scale[h] * y[1]);
      }
      continue;
    }
    if (t >= end) continue;
    float* c = (float*)dst + at + t * ld;
#pragma unroll
    for (int j = 0; j < D / 8; j++) *(float2*)(c + column_of(4 * j)) = float2{scale[h] * sum[4 * j + 2 * h], scale[h] * sum[4 * j + 2 * h + 1]};
  }
}

// range is the columns [begin, begin + count) of a tile.
struct range {
  int begin;
  u32 count;
  DEV_METHOD bool has(int column) const { return (u32)(column - begin) < count; }
};
DEV range range_of(int begin, int end) { return {begin, (u32)max(0, end - begin)}; }

// keys_seen are the columns, of a tile of keys from k0 on, that query i of its segment
// attends to; queries_seeing those, of a tile of queries from q0 on, that attend to key j.
DEV range keys_seen(int i, int k0, int window) { return range_of(window > 0 ? max(0, i + 1 - window - k0) : 0, i + 1 - k0); }
DEV range queries_seeing(int j, int q0, int end, int window) { return range_of(j - q0, (window > 0 ? min(end, j + window) : end) - q0); }
