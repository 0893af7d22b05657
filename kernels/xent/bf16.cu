// The fused head and cross entropy with h and w in bf16: xent.go says what is computed,
// bf16.go in which precision. The logits themselves are never in memory.
//
// xent_bf16_logits: a block of 256 threads multiplies 128 labelled rows by 128 of the
//   vocabulary on the tensor cores (as gemm's bf16.cu, NT) and reduces its tile: per row
//   the largest logit, the sum of exp(z - largest), the sum of z, and the target's z where
//   it falls. The exponentials leave as bf16: relative to the tile's largest they lose
//   2^-9, where a logit in bf16 would lose 2^-9 of itself, that is whole per cents of p.
// xent_bf16_losses: 32 rows a block; the tiles' sums become loss and gradient constants.
// xent_bf16_gradient: e becomes dz in place, one factor a row and tile.
// Then gemm: dh = dz w, dw += dzᵀ h.
//
// Order of a row's sums: steps of 16 of Hidden, columns of a tile by a fixed tree, tiles
// by residue mod 32. A row has the same bits alone or in a batch.
//
// Floor: 4 Hidden FLOP a logit with dh (2 for losses, 6 with dw) at the tensor cores' rate:
// 21.8 ms for 8192 x 128256 x 4096 at 790 TFLOP/s; beside it 6 bytes a logit of scratch,
// 1.5 ms at 4.3 TB/s. Not measured on a GPU.
// v1  three stages of cp.async, XOR swizzle; the tile turns through shared memory into
//     rows of 256 bytes. 125 to 128 registers, 48 KiB, 2 blocks a multiprocessor, 32 mma in a
//     loop of 117 instructions; the others at most 32 registers, 100 %. No spills. At most 1.1
//     times the least bytes, full sectors, no bank conflicts (interpreter)
#include "../dev/warp.cuh"
#include "../gemm/tile_bf16.cuh"
#include "bf16.cuh"

struct operands {
  const u16* h;  // [rows, hidden]
  const u16* w;  // [vocab, hidden]
};

template <bool Capped> DEV void logits(const operands& x, const head& p) {
  __shared__ __align__(128) u8 memory[stages * 2 * operand_bytes];
  const warp_tile w;
  const int warp = threadIdx.x / 32, lane = w.lane, wm = w.m, wn = w.n;
  const int i0 = blockIdx.x * tile, j0 = blockIdx.y * tile;
  float acc[4][4][4];
  sum_slices<NT>(acc, shared_address(memory), (p.hidden + slice - 1) / slice, w, [&](int s, u32 at) {
    load<true>(at, x.h, p.hidden, i0, p.rows, s * slice, p.hidden);
    load<true>(at + operand_bytes, x.w, p.hidden, j0, p.vocab, s * slice, p.hidden);
  });

  // The stages are free: the tile of exponentials, then [3, 4 warps, 128 rows] floats.
  float* part = (float*)(memory + tile * tile * 2);
  const int column0 = j0 + wn + lane % 4 * 2;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int r = wm + 16 * i + lane / 4 + 8 * h, row = i0 + r;
      const int target = row < p.rows ? p.target[row] - column0 : -1;
      float top = -infinity, all = 0;
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int l = 0; l < 2; l++) {
          float& z = acc[i][j][2 * h + l];
          if (Capped || p.scale != 1.f) z = capped<Capped>(z * p.scale, p.cap);
          if (8 * j + l == target) p.hit[row] = z;
          if (column0 + 8 * j + l < p.vocab) {
            all += z;
          } else {
            z = -infinity;
          }
          top = fmax(top, z);
        }
      top = group_max<4>(top);
      if (p.smooth) all = group_sum<4>(all);
      if (lane % 4 == 0) part[warp / 2 * tile + r] = top, part[(8 + warp / 2) * tile + r] = all;
    }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int r = wm + 16 * i + lane / 4 + 8 * h;
      const float top = fmax(fmax(part[r], part[tile + r]), fmax(part[2 * tile + r], part[3 * tile + r]));
      // exp(z - top) in one fma and one exponential; the sum makes up for what was lost
      // of top in units of log2e.
      const float shift = top * log2e, lost = fma(top, log2e, -shift);
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const float e0 = exp2_fast(fma(acc[i][j][2 * h], log2e, -shift)), e1 = exp2_fast(fma(acc[i][j][2 * h + 1], log2e, -shift));
        sum += e0 + e1;
        *(u32*)(memory + place<false>(r, wn / 8 + j) + lane % 4 * 4) = cvt_bf16x2(e0, e1);
      }
      sum = group_sum<4>(sum) * exp2_fast(-lost);
      if (lane % 4 == 0) part[(4 + warp / 2) * tile + r] = sum;
    }
  __syncthreads();
  if (threadIdx.x < tile && i0 + threadIdx.x < p.rows) {
    const float* s = part + threadIdx.x;
    float* out = p.stats + (i64)blockIdx.y * p.row_ld + i0 + threadIdx.x;
    const i64 next = (i64)gridDim.y * p.row_ld;
    out[0] = fmax(fmax(s[0], s[tile]), fmax(s[2 * tile], s[3 * tile]));
    out[next] = s[4 * tile] + s[5 * tile] + (s[6 * tile] + s[7 * tile]);
    if (p.smooth) out[2 * next] = s[8 * tile] + s[9 * tile] + (s[10 * tile] + s[11 * tile]);
  }
  if (!p.e) return;
#pragma unroll
  for (int j = 0; j < 8; j++) {
    const int t = threadIdx.x + 256 * j, r = t / 16, c = t % 16;
    if (i0 + r < p.rows && j0 + 8 * c < p.ld) *(uint4*)(p.e + (i64)(i0 + r) * p.ld + j0 + 8 * c) = *(uint4*)(memory + place<false>(r, c));
  }
}

KERNEL __launch_bounds__(256, 2) xent_bf16_logits(operands x, head p) { logits<false>(x, p); }
KERNEL __launch_bounds__(256, 2) xent_bf16_logits_capped(operands x, head p) { logits<true>(x, p); }

// What a row's gradient is made of: dz = share · e · exp(the tile's top - top) - even, and
// `at` for the target.
struct __align__(16) row_constants { float top, share, even, at; };

struct reduction {
  const float* stats;   // of struct head
  const float* hit;
  const int* row;       // of loss and weight
  const float* weight;  // or null: 1
  float* loss;
  row_constants* out;   // [rows]
  int rows, vocab, tiles, row_ld;
  float scale, smoothing, cap;
};

KERNEL __launch_bounds__(1024) xent_bf16_losses(reduction p) {
  __shared__ float tops[32][32], sums[32][32], alls[32][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, i = blockIdx.x * 32 + lane;
  const i64 next = (i64)p.tiles * p.row_ld;
  float top = -infinity, sum = 0, all = 0;
  if (i < p.rows) {
    for (int t = warp; t < p.tiles; t += 32) {
      const float* s = p.stats + (i64)t * p.row_ld + i;
      const float now = fmax(top, s[0]);
      sum = sum * exp(top - now) + s[next] * exp(s[0] - now);
      top = now;
      if (p.smoothing > 0.f) all += s[2 * next];
    }
  }
  tops[warp][lane] = top, sums[warp][lane] = sum, alls[warp][lane] = all;
  __syncthreads();
  if (warp > 0 || i >= p.rows) return;
  for (int w = 1; w < min(32, p.tiles); w++) top = fmax(top, tops[w][lane]);
  sum = 0, all = 0;
  for (int w = 0; w < min(32, p.tiles); w++) sum += sums[w][lane] * exp(tops[w][lane] - top), all += alls[w][lane];

  const int row = p.row[i];
  const float hit = p.hit[i], miss = 1.f - p.smoothing, even = p.smoothing / (float)p.vocab;
  p.loss[row] = (sum == sum ? log(sum) : sum) - (miss * (hit - top) + p.smoothing * (all / (float)p.vocab - top));
  const float g = p.weight ? p.weight[row] * p.scale : p.scale, share = 1.f / sum;
  float at = exp(hit - top) * share - miss - even;
  if (p.cap > 0.f) at *= 1.f - hit / p.cap * (hit / p.cap);
  *(float4*)(p.out + i) = float4{top, g * share, g * even, g * at};
}

struct gradient {
  u16* e;              // [rows, ld]; dz afterwards
  const float* stats;  // of struct head: the tiles' largest
  const row_constants* row;
  const int* target;
  int rows, vocab, ld, row_ld, width;  // width of a tile of stats, a multiple of 128
  float cap;
};

// A block has 16 rows of 512 columns: 16 lanes a row, 16 bytes a lane and pass.
template <bool Capped> DEV void to_gradient(const gradient& p) {
  const int i = blockIdx.x * 16 + threadIdx.x / 16;
  if (i >= p.rows) return;
  const float4 q = *(const float4*)(p.row + i);
  const row_constants c{q.x, q.y, q.z, q.w};
  const int target = p.target[i];
  const float inv = Capped ? 1.f / p.cap : 0.f;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = blockIdx.y * 512 + j * 128 + threadIdx.x % 16 * 8;
    if (column >= p.ld) return;
    const float top = p.stats[(i64)(column / p.width) * p.row_ld + i], k = c.share * exp_fast(top - c.top);
    uint4* at = (uint4*)(p.e + (i64)i * p.ld + column);
    uint4 v = *at;
#pragma unroll
    for (int l = 0; l < 4; l++) {
      float d[2] = {low_bf16(v[l]), high_bf16(v[l])};
#pragma unroll
      for (int m = 0; m < 2; m++) {
        const float e = d[m];
        d[m] = fma(e, k, -c.even);
        if (Capped) {
          const float z = fmax(top + log_fast(e), -p.cap) * inv;
          d[m] *= 1.f - z * z;
        }
        if (column + 2 * l + m == target) d[m] = c.at;
      }
      v[l] = cvt_bf16x2(d[0], d[1]);
    }
    *at = v;
  }
}

KERNEL __launch_bounds__(256) xent_bf16_gradient(gradient p) { to_gradient<false>(p); }
KERNEL __launch_bounds__(256) xent_bf16_gradient_capped(gradient p) { to_gradient<true>(p); }

// dst[b] = src[row[b]], `chunks` times 16 bytes a row.
KERNEL __launch_bounds__(128) xent_bf16_gather(uint4* dst, const uint4* src, const int* row, int chunks) {
  for (int i = threadIdx.x; i < chunks; i += 128) dst[(i64)blockIdx.x * chunks + i] = src[(i64)row[blockIdx.x] * chunks + i];
}
