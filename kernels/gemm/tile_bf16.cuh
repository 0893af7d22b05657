// tile_bf16.cuh: the parts of one block's tile of a bf16 product by mma.m16n8k16, as bf16.cu
// describes it, up to its sums. Every kernel that multiplies so includes it: those of one
// product with product_bf16.cuh, groups with what they say about theirs.
#pragma once
#include "../dev/async.cuh"
#include "../dev/math.cuh"
#include "../dev/mma.cuh"

enum { NN, NT, TN };
constexpr int tile = 128, slice = 32, stages = 3, operand_bytes = tile * slice * 2;

// The offset of chunk c (8 elements) of row r: rows of 64 bytes, two of which share the 32
// banks, or rows of 256 bytes.
template <bool Steps> DEV u32 place(int r, int c) {
  return Steps ? r * 64 + ((c ^ (r / 2 % 4)) << 4) : r * 256 + ((c ^ (r % 8)) << 4);
}

// load copies steps k0 … k0+31 of rows i0 … i0+127 of an operand.
template <bool Steps> DEV void load(u32 dst, const u16* p, i64 ld, int i0, int rows, int k0, int k) {
#pragma unroll
  for (int j = 0; j < 2; j++) {
    const int t = threadIdx.x + 256 * j;
    const int r = Steps ? t / 4 : t / 16, c = Steps ? t % 4 : t % 16;
    const int row = Steps ? i0 + r : k0 + r, column = Steps ? k0 + 8 * c : i0 + 8 * c;
    const int row_end = Steps ? rows : k, column_end = Steps ? k : rows;
    const int bytes = row < row_end ? 2 * max(0, min(8, column_end - column)) : 0;
    cp_async_16(dst + place<Steps>(r, c), p + row * ld + column, bytes);
  }
}

// warp_tile is the position of a warp's 64 x 32 of C in the block's tile.
struct warp_tile {
  int lane, m, n;  // first row and column within the block's tile
  DEV_METHOD warp_tile() {
    const int warp = threadIdx.x / 32;
    lane = threadIdx.x % 32, m = warp % 2 * 64, n = warp / 2 * 32;
  }
};

DEV void clear(float (&acc)[4][4][4]) {
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int l = 0; l < 4; l++) acc[i][j][l] = 0;
}

// products adds a slice's products to acc: A's slice is at sa, B's at sb.
template <int Tr> DEV void products(float (&acc)[4][4][4], u32 sa, u32 sb, warp_tile w) {
  const int lane = w.lane, wm = w.m, wn = w.n;
#pragma unroll
  for (int k = 0; k < 2; k++) {
    u32 a[4][4], b[2][4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (Tr != TN) {
        ldmatrix_x4(a[i], sa + place<true>(wm + 16 * i + lane % 16, 2 * k + lane / 16));
      } else {
        ldmatrix_x4_trans(a[i], sa + place<false>(16 * k + lane / 16 * 8 + lane % 8, wm / 8 + 2 * i + lane / 8 % 2));
      }
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
      if (Tr == NT) {
        ldmatrix_x4(b[j], sb + place<true>(wn + 16 * j + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
      } else {
        ldmatrix_x4_trans(b[j], sb + place<false>(16 * k + lane % 16, wn / 8 + 2 * j + lane / 16));
      }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) mma_m16n8k16_bf16(acc[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
  }
}

// through_ring brings slices 0, 1, … through a ring in shared memory at base, of that many
// stages and bytes a stage: fetch(s, at) begins the copies of slice s to the stage at `at`, Stages
// - 1 slices ahead of use(at), which all threads call when a slice is there.
template <int Stages, int Bytes, class Fetch, class Use> DEV void through_ring(u32 base, int slices, Fetch fetch, Use use) {
  auto begin = [&](int s) {
    if (s < slices) fetch(s, base + s % Stages * Bytes);
    cp_async_commit();
  };
#pragma unroll
  for (int s = 0; s < Stages - 1; s++) begin(s);
#pragma unroll 1
  for (int s = 0; s < slices; s++) {
    cp_async_wait<Stages - 2>();
    __syncthreads();
    begin(s + Stages - 1);
    use(base + s % Stages * Bytes);
  }
}

// sum_slices is the sum of that many slices' products, each with A's slice at `at` and B's behind
// it; fetch is through_ring's.
template <int Tr, class Fetch> DEV void sum_slices(float (&acc)[4][4][4], u32 base, int slices, warp_tile w, Fetch fetch) {
  clear(acc);
  through_ring<stages, 2 * operand_bytes>(base, slices, fetch, [&](u32 at) { products<Tr>(acc, at, at + operand_bytes, w); });
}
