// Masks and noise from Philox: dropout.go says which bits an entry has. The numbers are the
// host twin's, bit for bit.
//
// A warp owns 256 neighbouring columns of a row. Each lane makes the 128 random bits of
// eight; for the four that a lane reads and writes at once it asks the lane that has them.
//
// Floor: 8 bytes an entry (12 where the result is added), at the memory's bandwidth; 12
// integer instructions an entry for Philox. Not measured on a GPU.
// v1  16 bytes a thread and access: at most 32 registers, no spills, 100 % of the warps; the
//     least bytes in full sectors, one Philox for eight entries (interpreter)
#include "../dev/philox.cuh"
#include "../dev/quad.cuh"
#include "../dev/warp.cuh"

struct random {
  u32 keys[20];  // of Philox's rounds
  u32 stream;
};

struct place {
  i64 row;     // the row's first entry
  u32 number;  // of the row
  int at;      // the warp's first column
};

// A block has eight warps; warps go along a row first.
DEV bool find(place& p, int rows, int cols) {
  const u32 parts = (cols + 255) / 256, warp = blockIdx.x * 8 + threadIdx.x / 32;
  p.number = warp / parts, p.at = 256 * (warp - p.number * parts), p.row = (i64)p.number * cols;
  return p.number < (u32)rows;
}

// draw makes the bits of columns at + 8 lane ….
DEV void draw(u32 (&c)[4], const random& r, const place& p) {
  c[0] = p.at / 8 + threadIdx.x % 32, c[1] = p.number, c[2] = r.stream, c[3] = 0;
  philox(c, r.keys);
}

// pick gives the 16 bits each of the four columns from at + 128 half + 4 lane on.
DEV void pick(u32 (&bits)[4], const u32 (&c)[4], int half) {
  const u32 lane = threadIdx.x % 32, from = 16 * half + lane / 2;
  const u32 w0 = shfl_idx(c[0], from), w1 = shfl_idx(c[1], from), w2 = shfl_idx(c[2], from), w3 = shfl_idx(c[3], from);
  const u32 lo = lane & 1 ? w2 : w0, hi = lane & 1 ? w3 : w1;
  bits[0] = lo & 0xffff, bits[1] = lo >> 16, bits[2] = hi & 0xffff, bits[3] = hi >> 16;
}

KERNEL __launch_bounds__(256, 8) dropout_mask(float* dst, const float* src, random r, int rows, int cols, u32 threshold, float scale, int add) {
  place p;
  if (!find(p, rows, cols)) return;
  const bool vec = aligned16(dst, src) && cols % 4 == 0;
  u32 c[4];
  draw(c, r, p);
#pragma unroll
  for (int half = 0; half < 2; half++) {
    u32 bits[4];
    pick(bits, c, half);
    const int at = p.at + 128 * half + threadIdx.x % 32 * 4;
    quad x = load4(src + p.row, at, cols, vec), old = {};
    if (add) old = load4(dst + p.row, at, cols, vec);
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const float kept = bits[k] < threshold ? 0.f : x.v[k] * scale;
      x.v[k] = add ? old.v[k] + kept : kept;
    }
    store4(dst + p.row, at, cols, vec, x);
  }
}

KERNEL __launch_bounds__(256, 8) dropout_noise(float* x, random r, int rows, int cols, float magnitude) {
  place p;
  if (!find(p, rows, cols)) return;
  const bool vec = aligned16(x) && cols % 4 == 0;
  u32 c[4];
  draw(c, r, p);
#pragma unroll
  for (int half = 0; half < 2; half++) {
    u32 bits[4];
    pick(bits, c, half);
    const int at = p.at + 128 * half + threadIdx.x % 32 * 4;
    quad q = load4(x + p.row, at, cols, vec);
#pragma unroll
    for (int k = 0; k < 4; k++) q.v[k] += magnitude * ((float)(2 * bits[k] + 1) * 0x1p-16f - 1.f);
    store4(x + p.row, at, cols, vec, q);
  }
}
