// form.cuh: a tile of one sample's LoRA gradient, from the factors to what the projection
// takes, without a stop in memory.
#pragma once
#include "../dev/async.cuh"
#include "gradient.cuh"

constexpr int step = 16;  // tokens of a stage
constexpr int pad = 4;    // floats between tokens: fragments and quads meet no bank twice

// factor_loader copies 16 tokens of Cols columns of a factor at a time to [16][Cols + pad];
// what does not exist is zero.
template <int Cols> struct factor_loader {
  static constexpr int pitch = Cols + pad;
  const float* p;
  i64 ld;
  int width;  // columns there are from p on
  bool vec;   // by 16 bytes

  DEV_METHOD factor_loader(const float* first, i64 ld, int width) : p(first), ld(ld), width(width) { vec = ((u64)first & 15) == 0 && ld % 4 == 0; }

  template <int Size> DEV_METHOD void pass(u32 dst, int tokens) {
    constexpr int across = Cols / Size, rows = 256 / across > step ? step : 256 / across;
    const int k = threadIdx.x / across, q = threadIdx.x % across * Size;
    if (across * step < 256 && k >= step) return;
    const int bytes = 4 * min(max(width - q, 0), Size);
    const float* src = p + k * ld + q;
    dst += 4 * (k * pitch + q);
#pragma unroll
    for (int j = 0; j < step / rows; j++) {
      if (Size == 4) {
        cp_async_16(dst + 4 * j * rows * pitch, src, k + j * rows < tokens ? bytes : 0);
      } else {
        cp_async_4(dst + 4 * j * rows * pitch, src, k + j * rows < tokens && bytes);
      }
      src += rows * ld;
    }
  }
  DEV_METHOD void load(u32 dst, int tokens) {
    if (vec) {
      pass<4>(dst, tokens);
    } else {
      pass<1>(dst, tokens);
    }
    p += step * ld;
  }
};

// A warp's 16 x 32 of the tile from 16 tokens, by fused multiplications and additions:
// acc[4i + j] is row 4 (lane/8) + i, column 4 (lane%8) + j.
DEV void multiply_f32(float (&acc)[16], const float* s, int s_pitch, const float* l, int l_pitch) {
  const int lane = threadIdx.x % 32;
  s += lane / 8 * 4, l += lane % 8 * 4;
#pragma unroll 4
  for (int k = 0; k < step; k++) {
    const float4 x = *(const float4*)(s + k * s_pitch), y = *(const float4*)(l + k * l_pitch);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) acc[4 * i + j] = fma(x[i], y[j], acc[4 * i + j]);
  }
}

// The same on the tensor cores, the factors rounded to bf16: acc[4j + l] is an element of
// the fragment of columns 8j ... 8j + 7.
DEV void multiply_bf16(float (&acc)[16], const float* s, int s_pitch, const float* l, int l_pitch) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  u32 a[4];
#pragma unroll
  for (int q = 0; q < 4; q++) {
    const float* p = s + (2 * t + q / 2 * 8) * s_pitch + g + q % 2 * 8;
    a[q] = cvt_bf16x2(p[0], p[s_pitch]);
  }
#pragma unroll
  for (int j = 0; j < 4; j++) {
    u32 b[2];
#pragma unroll
    for (int q = 0; q < 2; q++) {
      const float* p = l + (2 * t + q * 8) * l_pitch + 8 * j + g;
      b[q] = cvt_bf16x2(p[0], p[l_pitch]);
    }
    mma_m16n8k16_bf16(*(float(*)[4]) & acc[4 * j], a, b[0], b[1]);
  }
}

// runs is the place of a tile in the flattened gradient: `count` pieces of `length` entries,
// `stride` apart, the first at `at` (counted from gamma's first row); in shared memory they
// are `pitch` apart.
struct runs {
  i64 at, stride;
  int count, length, pitch;
};

DEV int skewed(int i) { return i + i / 64; }  // so that rows of a tile begin in different banks

// form computes a tile of Rt rows of A (columns of B) by 4096/Rt columns of A (rows of B).
template <int To, int Rt, bool Bf16> DEV void form(const block& b) {
  constexpr int Wt = 4096 / Rt, sp = Rt + pad, lp = Wt + pad, stage = step * (sp + lp);
  static_assert(2 * stage >= 4096 + 64, "the tile is handed over where the stages were");
  __shared__ __align__(16) float memory[2 * stage];
  __shared__ double part[8];
  const u32 base = shared_address(memory);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, i = blockIdx.x;
  const int down = (b.rank + Rt - 1) / Rt, tiles_a = down * ((b.width[0] + Wt - 1) / Wt);
  const int side = (int)blockIdx.y >= tiles_a, tile = blockIdx.y - (side ? tiles_a : 0);
  const int r0 = tile % down * Rt, w0 = tile / down * Wt, width = b.width[side];
  const int lo = b.segments[i], hi = b.segments[i + 1];

  factor_loader<Rt> s(b.narrow[side] + (i64)lo * b.rank + r0, b.rank, b.rank - r0);
  factor_loader<Wt> l(b.wide[side] + (i64)lo * width + w0, width, width - w0);
  auto fetch = [&](u32 to, int tokens) {
    s.load(to, tokens);
    l.load(to + 4 * step * sp, tokens);
    cp_async_commit();
  };
  float acc[16];
#pragma unroll
  for (int j = 0; j < 16; j++) acc[j] = 0;
  const int rw = warp % (Rt / 16) * 16, ww = warp / (Rt / 16) * 32;  // of the warp
  if (lo < hi) fetch(base, hi - lo);
  for (int t = lo, odd = 0; t < hi; t += step, odd ^= 1) {
    cp_async_wait<0>();
    __syncthreads();
    if (t + step < hi) fetch(base + 4 * (odd ? 0 : stage), hi - t - step);
    const float* at = memory + (odd ? stage : 0);
    if (Bf16) {
      multiply_bf16(acc, at + rw, sp, at + step * sp + ww, lp);
    } else {
      multiply_f32(acc, at + rw, sp, at + step * sp + ww, lp);
    }
  }
  __syncthreads();

  // Into shared memory in the order of the flattened gradient, then out by pairs of rows.
  const int rt = min(Rt, b.rank - r0), wt = min(Wt, width - w0);
  const i64 at = b.offset - b.first + (side ? (i64)b.rank * b.width[0] + (i64)w0 * b.rank + r0 : (i64)r0 * width + w0);
  runs q;
  if (!side) {
    q = {at, width, rt, wt, Wt};
  } else if (down == 1) {
    q = {at, 0, 1, wt * rt, 0};
  } else {
    q = {at, b.rank, wt, rt, Rt};
  }
  const float scale = side ? b.scale : 1;
#pragma unroll
  for (int j = 0; j < 16; j++) {
    const int r = rw + (Bf16 ? lane / 4 + j % 4 / 2 * 8 : lane / 8 * 4 + j / 4);
    const int w = ww + (Bf16 ? j / 4 * 8 + lane % 4 * 2 + j % 2 : lane % 8 * 4 + j % 4);
    if (r < rt && w < wt) memory[skewed(side ? w * (down == 1 ? rt : Rt) + r : r * Wt + w)] = scale * acc[j];
  }
  __syncthreads();
  double norm = 0;
  const int pieces = (q.length + 15 + 127) / 128;  // of 128 rows of gamma, for a run that begins anywhere
  for (int u = warp; u < q.count * pieces; u += 8) {
    const int run = u / pieces;
    const i64 begin = q.at + run * q.stride, from = begin / 16 * 16 + u % pieces * 128;
#pragma unroll 1
    for (int j = lane; j < 64; j += 32) {
      pair p;
      p.row = from + j / 8 * 16 + j % 8;
      const int e = (int)(p.row - begin);
      p.x = e >= 0 && e < q.length, p.y = e + 8 >= 0 && e + 8 < q.length;
      if (!p.x && !p.y) continue;
      // Half of the lanes look at row r + 8 first: there are no bank conflicts.
      const int swap = lane / 16 * 8, one = run * q.pitch + e;
      float x = (swap ? p.y : p.x) ? memory[skewed(one + swap)] : 0;
      float y = (swap ? p.x : p.y) ? memory[skewed(one + 8 - swap)] : 0;
      norm += finish<To>(b, i, p, swap ? y : x, swap ? x : y);
    }
  }
  if (blockIdx.y == 0) zero<To>(b, i);
  norm = block_sum<256>(norm, part);
  if (threadIdx.x == 0) b.norms[(i64)i * gridDim.y + blockIdx.y] = norm;
}
