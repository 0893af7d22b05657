// group_hopper.cuh: what Hopper's kernels of grouped products share, for blocks alone
// (group.sm90a.cu) and in clusters (cluster.sm90a.cu): their parameter, and how the sums of a
// tile are stored.
#pragma once
#include "group.cuh"
#include "tile_hopper.cuh"

struct factors { tensor_map a, b; };

struct group {
  factors pairs[max_pairs];
  sum_of sums[max_sums];
  int slices[max_pairs];
  int count;       // of sums
  int padding[3];  // to a multiple of 64 bytes, as the parameter is aligned
};

// store hands a thread's sums of 64 rows from i on over to C: float32 in pairs, old values
// eight at a time, unless C's rows are at odd places.
template <int Bn> DEV void store(const sum_of& p, int i, int j, const float (&d)[Bn / 2]) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, t = lane % 4 * 2;
  const bool pairs = p.n % 2 == 0 && p.ldc % 2 == 0 && ((u64)p.c & 7) == 0;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int row = i + 16 * warp + lane / 4 + 8 * h;
    const bool there = row < p.m;
    if (p.half) {
      u16* c = (u16*)p.c + (i64)row * p.ldc + j;
#pragma unroll
      for (int q = 0; q < Bn / 8; q += 2) {
        if (j + 8 * q >= p.n) break;  // all lanes
        float v[4];
#pragma unroll
        for (int l = 0; l < 4; l++) {
          const int column = 8 * (q + l / 2) + t + l % 2;
          v[l] = p.alpha * d[4 * (q + l / 2) + 2 * h + l % 2];
          if (p.bias && j + column < p.n) v[l] += p.bias[j + column];
        }
        store16_bf16(c + 8 * q, p.n - j - 8 * q, there, v[0], v[1], v[2], v[3]);
      }
      continue;
    }
    if (!there) continue;
    float* c = (float*)p.c + (i64)row * p.ldc + j + t;
    const int room = p.n - j - t;
#pragma unroll
    for (int q0 = 0; q0 < Bn / 8; q0 += 8) {
      float2 old[8] = {};
#pragma unroll
      for (int q = 0; q < 8; q++) {
        const int at = 8 * (q0 + q);
        if (p.add && pairs && at < room) old[q] = *(float2*)(c + at);
      }
#pragma unroll
      for (int q = 0; q < 8; q++) {
        const int at = 8 * (q0 + q);
        const float* s = d + 4 * (q0 + q) + 2 * h;
        float2 v = {fma(p.alpha, s[0], old[q].x), fma(p.alpha, s[1], old[q].y)};
        if (p.bias && at < room) v.x += p.bias[j + t + at];
        if (p.bias && at + 1 < room) v.y += p.bias[j + t + at + 1];
        if (pairs) {
          if (at < room) *(float2*)(c + at) = v;
          continue;
        }
        if (at < room) c[at] = v.x + (p.add ? c[at] : 0.f);
        if (at + 1 < room) c[at + 1] = v.y + (p.add ? c[at + 1] : 0.f);
      }
    }
  }
}
