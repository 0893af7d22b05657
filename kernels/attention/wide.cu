// Causal attention, float32, heads of up to 256, with or without a soft cap: what the
// families with long heads need until they have kernels of their own. attention.go says
// what is computed.
//
// A block takes 32 queries of a head, or 32 keys with all query heads that share them; a
// thread takes eight threads' part of a row of scores, and a row's every eighth column of
// what is summed up. Keys and values, and queries and the gradient of o, take turns in one
// buffer of shared memory. Rows stand one float further apart than they are long: lanes
// that read one column of several rows meet no bank twice. Tiles are counted from the
// segment's first token: a segment's bits do not depend on its place.
//
// Floor: the products, on FMA units. Not measured on a GPU.
// v1  32 columns of the sums in a thread's registers
#include "../dev/warp.cuh"

constexpr int most = 256, pitch = most + 1, rows = 32, threads = 256, each = most / 8;
constexpr int forward_tile = 32, backward_tile = 16;

// As in tile.cuh; units holds the segment's first token and the one after its last, the
// block's first row and its place.
struct arguments {
  const float *q, *k, *v, *o, *lse, *d_o, *delta;
  float *out, *out_lse, *out_dq, *out_dk, *out_dv;
  const int* units;
  int tokens, heads, kv_heads, head_dim, window, vec;
  float scale, cap;
};

// load brings n rows of x, of `heads` heads a token, from token `from` on; rows beyond end
// are zeros.
DEV void load(float* to, const float* x, int heads, int head, int from, int n, int end, int d) {
  for (int i = threadIdx.x; i < n * d; i += threads) {
    const int r = i / d, c = i % d;
    to[r * pitch + c] = from + r < end ? x[((i64)(from + r) * heads + head) * d + c] : 0.f;
  }
}

DEV float dot(const float* a, const float* b, int d) {
  float sum = 0;
  for (int i = 0; i < d; i++) sum = fma(a[i], b[i], sum);
  return sum;
}

// sees reports whether query i sees key j.
DEV bool sees(const arguments& p, int i, int j) { return j <= i && (p.window == 0 || j > i - p.window); }

// score is s of a product of a query and a key.
DEV float score(const arguments& p, float x) {
  x *= p.scale;
  return p.cap > 0.f ? p.cap * tanh(x / p.cap) : x;
}

// slope is what a gradient of s is multiplied with to be one of the product.
DEV float slope(const arguments& p, float s) { return p.cap > 0.f ? p.scale * (1.f - s / p.cap * (s / p.cap)) : p.scale; }

// first_tile is the first key of the first tile that query i sees.
DEV int first_tile(const arguments& p, int lo, int i, int tile) { return p.window == 0 ? lo : lo + max(0, i - p.window + 1 - lo) / tile * tile; }

KERNEL __launch_bounds__(threads) attention_wide_forward(arguments p) {
  extern __shared__ float memory[];
  float *q = memory, *kv = q + rows * pitch, *weights = kv + forward_tile * pitch;
  const int lo = p.units[4 * blockIdx.x], hi = p.units[4 * blockIdx.x + 1], first = p.units[4 * blockIdx.x + 2];
  const int head = blockIdx.y, kv_head = head / (p.heads / p.kv_heads), d = p.head_dim;
  const int r = threadIdx.x / 8, lane = threadIdx.x % 8, i = first + r;
  load(q, p.q, p.heads, head, first, rows, hi, d);
  float o[each], top = -infinity, sum = 0;
#pragma unroll
  for (int m = 0; m < each; m++) o[m] = 0;
  for (int j0 = first_tile(p, lo, first, forward_tile); j0 < min(hi, first + rows); j0 += forward_tile) {
    load(kv, p.k, p.kv_heads, kv_head, j0, forward_tile, hi, d);
    __syncthreads();
    float s[forward_tile / 8], peak = top;
#pragma unroll
    for (int m = 0; m < forward_tile / 8; m++) {
      const int j = lane + 8 * m;
      s[m] = sees(p, i, j0 + j) ? score(p, dot(q + r * pitch, kv + j * pitch, d)) : -infinity;
      peak = fmax(peak, s[m]);
    }
    peak = group_max<8>(peak);
    const float shrink = peak == -infinity ? 1.f : exp(top - peak);
    float part = 0;
#pragma unroll
    for (int m = 0; m < forward_tile / 8; m++) {
      s[m] = s[m] == -infinity ? 0.f : exp(s[m] - peak);
      part += s[m];
      weights[r * (forward_tile + 1) + lane + 8 * m] = s[m];
    }
    sum = fma(sum, shrink, group_sum<8>(part));
    top = peak;
    __syncthreads();
    load(kv, p.v, p.kv_heads, kv_head, j0, forward_tile, hi, d);
    __syncthreads();
#pragma unroll
    for (int m = 0; m < each; m++) {
      const int c = lane + 8 * m;
      if (c >= d) break;
      float x = o[m] * shrink;
      for (int j = 0; j < forward_tile; j++) x = fma(weights[r * (forward_tile + 1) + j], kv[j * pitch + c], x);
      o[m] = x;
    }
    __syncthreads();
  }
  if (i >= hi) return;
#pragma unroll
  for (int m = 0; m < each; m++) {
    const int c = lane + 8 * m;
    if (c >= d) break;
    p.out[((i64)i * p.heads + head) * d + c] = o[m] / sum;
  }
  if (lane == 0) p.out_lse[(i64)head * p.tokens + i] = top + log(sum);
}

KERNEL __launch_bounds__(threads) attention_wide_backward_q(arguments p) {
  extern __shared__ float memory[];
  float *q = memory, *d_o = q + rows * pitch, *kv = d_o + rows * pitch, *ds = kv + backward_tile * pitch;
  const int lo = p.units[4 * blockIdx.x], hi = p.units[4 * blockIdx.x + 1], first = p.units[4 * blockIdx.x + 2];
  const int head = blockIdx.y, kv_head = head / (p.heads / p.kv_heads), d = p.head_dim;
  const int r = threadIdx.x / 8, lane = threadIdx.x % 8, i = first + r;
  load(q, p.q, p.heads, head, first, rows, hi, d);
  load(d_o, p.d_o, p.heads, head, first, rows, hi, d);
  const float lse = i < hi ? p.lse[(i64)head * p.tokens + i] : 0.f, delta = i < hi ? p.delta[(i64)head * p.tokens + i] : 0.f;
  float dq[each];
#pragma unroll
  for (int m = 0; m < each; m++) dq[m] = 0;
  for (int j0 = first_tile(p, lo, first, backward_tile); j0 < min(hi, first + rows); j0 += backward_tile) {
    load(kv, p.v, p.kv_heads, kv_head, j0, backward_tile, hi, d);
    __syncthreads();
    float dp[backward_tile / 8];
#pragma unroll
    for (int m = 0; m < backward_tile / 8; m++) dp[m] = dot(d_o + r * pitch, kv + (lane + 8 * m) * pitch, d);
    __syncthreads();
    load(kv, p.k, p.kv_heads, kv_head, j0, backward_tile, hi, d);
    __syncthreads();
#pragma unroll
    for (int m = 0; m < backward_tile / 8; m++) {
      const int j = lane + 8 * m;
      const float s = score(p, dot(q + r * pitch, kv + j * pitch, d));
      ds[r * (backward_tile + 1) + j] = i < hi && sees(p, i, j0 + j) ? exp(s - lse) * (dp[m] - delta) * slope(p, s) : 0.f;
    }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < each; m++) {
      const int c = lane + 8 * m;
      if (c >= d) break;
      for (int j = 0; j < backward_tile; j++) dq[m] = fma(ds[r * (backward_tile + 1) + j], kv[j * pitch + c], dq[m]);
    }
    __syncthreads();
  }
  if (i >= hi) return;
#pragma unroll
  for (int m = 0; m < each; m++) {
    const int c = lane + 8 * m;
    if (c >= d) break;
    p.out_dq[((i64)i * p.heads + head) * d + c] = dq[m];
  }
}

KERNEL __launch_bounds__(threads, 1) attention_wide_backward_kv(arguments p) {
  extern __shared__ float memory[];
  float *k = memory, *v = k + rows * pitch, *qo = v + rows * pitch, *weights = qo + backward_tile * pitch, *ds = weights + rows * (backward_tile + 1);
  const int hi = p.units[4 * blockIdx.x + 1], first = p.units[4 * blockIdx.x + 2];
  const int kv_head = blockIdx.y, group = p.heads / p.kv_heads, d = p.head_dim;
  const int r = threadIdx.x / 8, lane = threadIdx.x % 8, j = first + r;
  load(k, p.k, p.kv_heads, kv_head, first, rows, hi, d);
  load(v, p.v, p.kv_heads, kv_head, first, rows, hi, d);
  float dk[each], dv[each];
#pragma unroll
  for (int m = 0; m < each; m++) dk[m] = dv[m] = 0;
  const int last = p.window == 0 ? hi : min(hi, first + rows - 1 + p.window);  // queries that see any of them
  for (int head = kv_head * group; head < (kv_head + 1) * group; head++)
    for (int i0 = first; i0 < last; i0 += backward_tile) {
      load(qo, p.q, p.heads, head, i0, backward_tile, hi, d);
      __syncthreads();
      float w[backward_tile / 8], bend[backward_tile / 8];
#pragma unroll
      for (int m = 0; m < backward_tile / 8; m++) {
        const int i = i0 + lane + 8 * m;
        const float s = score(p, dot(qo + (lane + 8 * m) * pitch, k + r * pitch, d));
        w[m] = i < hi && j < hi && sees(p, i, j) ? exp(s - p.lse[(i64)head * p.tokens + i]) : 0.f;
        bend[m] = slope(p, s);
        weights[r * (backward_tile + 1) + lane + 8 * m] = w[m];
      }
      __syncthreads();
      load(qo, p.d_o, p.heads, head, i0, backward_tile, hi, d);
      __syncthreads();
#pragma unroll
      for (int m = 0; m < backward_tile / 8; m++) {
        const int i = i0 + lane + 8 * m;
        const float dp = dot(qo + (lane + 8 * m) * pitch, v + r * pitch, d);
        ds[r * (backward_tile + 1) + lane + 8 * m] = w[m] == 0.f ? 0.f : w[m] * (dp - p.delta[(i64)head * p.tokens + i]) * bend[m];
      }
#pragma unroll
      for (int m = 0; m < each; m++) {
        const int c = lane + 8 * m;
        if (c >= d) break;
        for (int i = 0; i < backward_tile; i++) dv[m] = fma(weights[r * (backward_tile + 1) + i], qo[i * pitch + c], dv[m]);
      }
      __syncthreads();
      load(qo, p.q, p.heads, head, i0, backward_tile, hi, d);
      __syncthreads();
#pragma unroll
      for (int m = 0; m < each; m++) {
        const int c = lane + 8 * m;
        if (c >= d) break;
        for (int i = 0; i < backward_tile; i++) dk[m] = fma(ds[r * (backward_tile + 1) + i], qo[i * pitch + c], dk[m]);
      }
      __syncthreads();
    }
  if (j >= hi) return;
#pragma unroll
  for (int m = 0; m < each; m++) {
    const int c = lane + 8 * m;
    if (c >= d) break;
    p.out_dk[((i64)j * p.kv_heads + kv_head) * d + c] = dk[m];
    p.out_dv[((i64)j * p.kv_heads + kv_head) * d + c] = dv[m];
  }
}
