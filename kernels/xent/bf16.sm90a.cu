// xent_bf16_logits of bf16.cu for Hopper: TMA, mbarriers and wgmma; bf16.cu has the rest.
//
// One block a multiprocessor, three warpgroups. A warp of the first fetches slices of 64
// steps into a ring in shared memory, also those of the tile to come; the other two
// multiply 64 labelled rows each by 256 of the vocabulary. A row of a tile lies in the 4
// lanes of a quad, so largest logit, Σ exp(z - largest) and Σ z are two shuffles each; the
// quad turns its exponentials over among itself and stores 64 bytes of a row at a time.
// Tiles go down the rows first: a block of rows stays in the L2 cache, w is read once.
//
// Order of a row's sums: steps of 16 of Hidden, the columns of a lane, the quad. A row has
// the same bits alone or in a batch.
//
// Floor: 2 Hidden FLOP a logit at the tensor cores' rate. Not measured on a GPU.
// v1  four stages of 48 KiB, 128 sums a thread. Between the products of two tiles stand
//     128 exponentials a thread, 12 instructions a logit (interpreter; 33 capped): some 3 of
//     36 thousand issue cycles at Hidden 4096. 232 registers
//     (168 at launch), 192 KiB, one block a multiprocessor, 4 wgmma in a loop of 69
//     instructions, no spills; at most 1.1 times the least bytes, full sectors, no bank
//     conflicts (interpreter)
#include "../dev/warp.cuh"
#include "../gemm/tile_hopper.cuh"
#include "bf16.cuh"

constexpr int tile_columns = 256;

struct tiles {
  int rows, columns;
  DEV_METHOD tiles(const head& p) : rows((p.rows + tile_m - 1) / tile_m), columns((p.vocab + tile_columns - 1) / tile_columns) {}
  DEV_METHOD int count() { return rows * columns; }
};

DEV void fetch(const tensor_map* h, const tensor_map* w, const head& p) {
  tiles all(p);
  ring<tile_columns> at;
  for (int id = blockIdx.x; id < all.count(); id += gridDim.x) {
    const int j = id / all.rows, i = id - j * all.rows;
    for (int k = 0; k < p.hidden; k += slice, at.next()) load<NT>(at, h, w, k, i * tile_m, j * tile_columns);
  }
}

// turn exchanges v[q] of lane t with v[t] of lane q, for the lanes of a quad.
DEV void turn(u32 (&v)[4]) {
  const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const u32 got = shfl_bfly(odd ? v[i] : v[i + 1], 1);
    (odd ? v[i] : v[i + 1]) = got;
  }
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const u32 got = shfl_bfly(high ? v[i] : v[i + 2], 2);
    (high ? v[i] : v[i + 2]) = got;
  }
}

// prepare makes a thread's products logits: scaled and capped where that is asked for, and
// -infinity beyond the vocabulary.
template <bool Capped> DEV void prepare(const head& p, int room, float (&d)[tile_columns / 2]) {
  if (Capped || p.scale != 1.f) {
#pragma unroll
    for (int n = 0; n < tile_columns / 2; n++) d[n] = capped<Capped>(d[n] * p.scale, p.cap);
  }
  if (room < tile_columns) {
#pragma unroll
    for (int n = 0; n < tile_columns / 2; n++)
      if (8 * (n / 4) + n % 2 >= room) d[n] = -infinity;
  }
}

// reduce hands over what a thread's two rows (i and i + 8) of tile j hold.
template <bool Capped> DEV void reduce(const head& p, int i, int j, float (&d)[tile_columns / 2]) {
  const int t = threadIdx.x % 4, columns = (p.vocab + tile_columns - 1) / tile_columns;
  const int first = j * tile_columns + 2 * t, room = p.vocab - first;  // columns are counted from the thread's first
  prepare<Capped>(p, room, d);
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int row = i + 8 * h;
    const bool there = row < p.rows;
    const int target = there ? p.target[row] - first : -1;
    if ((u32)target < tile_columns) {  // one tile of a row
#pragma unroll
      for (int q = 0; q < tile_columns / 8; q++)
#pragma unroll
        for (int l = 0; l < 2; l++)
          if (8 * q + l == target) p.hit[row] = d[4 * q + 2 * h + l];
    }
    float largest[4] = {-infinity, -infinity, -infinity, -infinity}, sums[4] = {}, all = 0;
#pragma unroll
    for (int q = 0; q < tile_columns / 8; q++) largest[q % 4] = fmax(largest[q % 4], fmax(d[4 * q + 2 * h], d[4 * q + 2 * h + 1]));
    const float top = group_max<4>(fmax(fmax(largest[0], largest[1]), fmax(largest[2], largest[3])));
    if (p.smooth) {
#pragma unroll
      for (int q = 0; q < tile_columns / 8; q++)
#pragma unroll
        for (int l = 0; l < 2; l++) all += 8 * q + l < room ? d[4 * q + 2 * h + l] : 0.f;
      all = group_sum<4>(all);
    }
    // exp(z - top) in one fma and one exponential; the sum makes up for what was lost of
    // top in units of log2e.
    const float shift = top * log2e, lost = fma(top, log2e, -shift);
#pragma unroll
    for (int q = 0; q < tile_columns / 8; q += 4) {
      u32 v[4];
#pragma unroll
      for (int m = 0; m < 4; m++) {
        const float a = exp2_fast(fma(d[4 * (q + m) + 2 * h], log2e, -shift)), b = exp2_fast(fma(d[4 * (q + m) + 2 * h + 1], log2e, -shift));
        sums[m] += a + b;
        v[m] = cvt_bf16x2(a, b);
      }
      if (!p.e) continue;
      turn(v);
      const int column = j * tile_columns + 8 * (q + t);
      if (there && column < p.ld) *(uint4*)(p.e + (i64)row * p.ld + column) = uint4{v[0], v[1], v[2], v[3]};
    }
    const float sum = group_sum<4>(sums[0] + sums[1] + (sums[2] + sums[3])) * exp2_fast(-lost);
    if (t == 0 && there) {
      float* out = p.stats + (i64)j * p.row_ld + row;
      const i64 next = (i64)columns * p.row_ld;
      out[0] = top, out[next] = sum;
      if (p.smooth) out[2 * next] = all;
    }
  }
}

template <bool Capped> DEV void consume(const head& p, int half) {
  tiles all(p);
  ring<tile_columns> at;
  for (int id = blockIdx.x; id < all.count(); id += gridDim.x) {
    float d[tile_columns / 2];
    products<NT, tile_columns>(d, at, (p.hidden + slice - 1) / slice, half);
    const int j = id / all.rows, i = id - j * all.rows;
    reduce<Capped>(p, i * tile_m + half * 64 + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4, j, d);
  }
}

template <bool Capped> DEV void logits(const tensor_map* h, const tensor_map* w, const head& p) {
  start<tile_columns>(1);
  const int group = threadIdx.x / 128;
  if (group == 0) {
    fewer_registers<40>();
    if (threadIdx.x < 32 && elect_one()) fetch(h, w, p);
  } else {
    more_registers<232>();
    consume<Capped>(p, group - 1);
  }
}

#define LOGITS(name, Capped) \
  KERNEL __launch_bounds__(384, 1) name(const __grid_constant__ tensor_map h, const __grid_constant__ tensor_map w, head p) { logits<Capped>(&h, &w, p); }
LOGITS(xent_bf16_logits_256, false)
LOGITS(xent_bf16_logits_256_capped, true)
