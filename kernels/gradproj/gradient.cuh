// gradient.cuh: what becomes of a sample's gradient before it is projected: the Adam
// direction, rounding, the square norm, and the form the projection takes it in.
#pragma once
#include "../dev/math.cuh"
#include "../dev/mma.cuh"
#include "../dev/warp.cuh"

// block is the part of the flattened gradient that a call adds.
struct block {
  const float* narrow[2];  // V [T, rank] and U [T, rank]
  const float* wide[2];    // X [T, width[0]] and DY [T, width[1]]
  const int* segments;     // [n + 1]
  const float* g;          // split: the gradient itself [size]
  const float *m, *v;      // the moments [size], or null: the gradient as it is
  i64 offset, size;        // the block's first row in the flattened gradient, its rows
  i64 first, rows;         // the rows of gamma: multiples of 128
  i64 plane;               // entries from one plane of gamma to the next
  void* gamma;             // u16 [3 or 1][.][rows], or float [.][rows]: a row a sample
  float* out;              // to_out: [n, dim]
  double* norms;           // [n][gridDim.y]
  int width[2], rank, dim, round;
  float scale;             // of dB
  float c[8];              // direction of gradient_cpu.go
};

// The destination of a block. The planes are 16 bits an entry, and in a group of 16 rows they hold
// rows 0 8 1 9 2 10 ... 7 15, as signs.cuh expects them.
enum { to_bf16x3, to_bf16, to_f16, to_f32, to_out };
// What to_f32 and to_out round to.
enum { round_none, round_f16, round_bf16 };

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

// pair is rows r and r + 8 of a group of 16 of gamma; those of the block are there.
struct pair {
  i64 row;    // r, counted from `first`
  bool x, y;  // whether the rows r and r + 8 are the caller's to write
};

// put_half writes the two 16-bit numbers of h.
DEV void put_half(u16* plane, const pair& at, u32 h) {
  const i64 word = at.row / 16 * 8 + at.row % 8;
  if (at.x && at.y) {
    ((u32*)plane)[word] = h;
  } else if (at.x) {
    plane[2 * word] = (u16)h;
  } else if (at.y) {
    plane[2 * word + 1] = (u16)(h >> 16);
  }
}

// finish transforms the gradient's rows x and y of sample i, stores them and returns
// the sum of their squares.
template <int To> DEV double finish(const block& b, int i, const pair& at, float x, float y) {
  const i64 e = at.row - (b.offset - b.first);  // in the block
  if (b.m) {
    if (at.x) x = direction(x, b.m[e], b.v[e], b.c);
    if (at.y) y = direction(y, b.m[e + 8], b.v[e + 8], b.c);
  }
  x = at.x ? x : 0, y = at.y ? y : 0;
  u16* plane = (u16*)b.gamma + i * b.rows;
  if (To == to_f16 || (To >= to_f32 && b.round == round_f16)) {
    const u32 h = cvt_f16x2(x, y);
    x = f16_to_f32(h), y = f16_to_f32(h >> 16);
    if (To == to_f16) put_half(plane, at, h);
  }
  if (To == to_bf16 || (To >= to_f32 && b.round == round_bf16)) {
    const u32 h = cvt_bf16x2(x, y);
    x = low_bf16(h), y = high_bf16(h);
    if (To == to_bf16) put_half(plane, at, h);
  }
  if (To == to_bf16x3) {
    float p = x, q = y;
#pragma unroll
    for (int l = 0; l < 3; l++) {
      const u32 h = cvt_bf16x2(p, q);
      put_half(plane + l * b.plane, at, h);
      p -= low_bf16(h), q -= high_bf16(h);
    }
  }
  if (To == to_f32) {
    float* gamma = (float*)b.gamma + i * b.rows + at.row;
    if (at.x) gamma[0] = x;
    if (at.y) gamma[8] = y;
  }
  if (To == to_out) {
    float* out = b.out + (i64)i * b.dim + b.offset + e;
    if (at.x) out[0] += x;
    if (at.y) out[8] += y;
  }
  return __builtin_fma((double)y, (double)y, (double)x * (double)x);
}

// zero writes the rows of gamma before and after the block: fewer than 256.
template <int To> DEV void zero(const block& b, int i) {
  if (To == to_out) return;
  const i64 head = b.offset - b.first, tail = b.rows - head - b.size;
  for (i64 j = threadIdx.x; j < head + tail; j += 256) {
    const i64 row = j < head ? j : j + b.size;
    if (To == to_f32) {
      ((float*)b.gamma)[i * b.rows + row] = 0;
    } else {
      const i64 at = row / 16 * 16 + row % 8 * 2 + row / 8 % 2;
#pragma unroll
      for (int l = 0; l < (To == to_bf16x3 ? 3 : 1); l++) ((u16*)b.gamma)[l * b.plane + i * b.rows + at] = 0;
    }
  }
}
