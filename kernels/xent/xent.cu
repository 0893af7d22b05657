// What stands around the products of the fused head and cross entropy: xent.go says
// what is computed. The logits of some hundred labelled rows exist at a time.
//
// xent_rows: a block of 256 threads owns a row. One pass finds max and sum together
// (the sum shrinks when the max grows), a second turns the logits into their gradient
// in place. Sums go over a fixed tree. exp, log and tanh are good to 2 ulp.
// xent_gather, xent_scatter: the labelled rows of h, and back.
//
// Floor: a logit is read twice and written once, 12 bytes, at the memory's bandwidth;
// the products around it cost 4 to 6 Hidden FLOP a logit. Not measured on a GPU.
// v1  16-byte accesses, four in flight a thread: 55 registers (58 capped), no spills, 4
//     blocks a multiprocessor; at most 1.1 times the least bytes, full sectors, no bank
//     conflicts (interpreter)
#include "../dev/quad.cuh"
#include "../dev/warp.cuh"

constexpr int threads = 256, flight = 4;
constexpr float lowest = -3.402823466e38f;

struct rows {
  float* z;             // [rows, ld] scaled logits; their gradient afterwards
  const int* row;       // of h, loss and weight
  const int* target;
  const float* weight;  // or null: 1
  float* loss;
  i64 ld;
  int vocab, gradient;
  float scale, smoothing, cap;
};

template <bool Capped> DEV float capped(float z, float cap) { return Capped ? cap * tanh(z / cap) : z; }

template <bool Capped> DEV void softmax(rows p) {
  __shared__ float part[threads / 32];
  float* z = p.z + blockIdx.x * p.ld;
  const int at = 4 * threadIdx.x, stride = 4 * threads;
  float top = lowest, sum = 0, all = 0;
  for (int i0 = 0; i0 < p.vocab; i0 += flight * stride) {
    quad q[flight];
    float now = top;
#pragma unroll
    for (int j = 0; j < flight; j++) q[j] = load4(z, i0 + at + j * stride, p.vocab, true, -infinity);
#pragma unroll
    for (int j = 0; j < flight; j++)
#pragma unroll
      for (int k = 0; k < 4; k++) {
        if (i0 + at + j * stride + k < p.vocab) {
          q[j].v[k] = capped<Capped>(q[j].v[k], p.cap);
          all += q[j].v[k];
        }
        now = fmax(now, q[j].v[k]);
      }
    sum *= exp(top - now), top = now;
#pragma unroll
    for (int j = 0; j < flight; j++)
#pragma unroll
      for (int k = 0; k < 4; k++) sum += exp(q[j].v[k] - now);
  }
  const float mine = top;
  top = block_max<threads>(mine, part);
  sum = block_sum<threads>(sum * exp(mine - top), part);
  all = block_sum<threads>(all, part);
  const int row = p.row[blockIdx.x], target = p.target[blockIdx.x];
  const float even = p.smoothing / (float)p.vocab;
  if (threadIdx.x == 0) {
    const float hit = capped<Capped>(z[target], p.cap) - top, mean = all / (float)p.vocab - top;
    p.loss[row] = log(sum) - ((1.f - p.smoothing) * hit + p.smoothing * mean);
  }
  if (!p.gradient) return;
  __syncthreads();  // z[target] has been read
  const float g = p.weight ? p.weight[row] * p.scale : p.scale;
  const float share = 1.f / sum, steep = Capped ? 1.f / p.cap : 0.f;
  for (int i0 = 0; i0 < p.vocab; i0 += flight * stride) {
    quad q[flight];
#pragma unroll
    for (int j = 0; j < flight; j++) q[j] = load4(z, i0 + at + j * stride, p.vocab, true);
#pragma unroll
    for (int j = 0; j < flight; j++) {
      const int i = i0 + at + j * stride;
      if (i >= p.vocab) break;
#pragma unroll
      for (int k = 0; k < 4; k++) {
        const float v = capped<Capped>(q[j].v[k], p.cap);
        float d = exp(v - top) * share - even;
        if (i + k == target) d -= 1.f - p.smoothing;
        if (Capped) d *= 1.f - v * steep * (v * steep);
        q[j].v[k] = g * d;
      }
      store4(z, i, p.vocab, true, q[j]);
    }
  }
}

KERNEL __launch_bounds__(threads) xent_rows(rows p) { softmax<false>(p); }
KERNEL __launch_bounds__(threads) xent_rows_capped(rows p) { softmax<true>(p); }

// Caps logits [n] in place, for generation.
KERNEL __launch_bounds__(256) xent_cap(float* z, i64 n, float cap) {
  const i64 i = ((i64)blockIdx.x * 256 + threadIdx.x) * 4;
  const bool vec = aligned16(z);
  quad q = load4(z, i, n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) q.v[k] = capped<true>(q.v[k], cap);
  store4(z, i, n, vec, q);
}

DEV void copy_row(float* dst, const float* src, int d) {
  const bool vec = aligned16(dst, src);
  for (int i = 4 * threadIdx.x; i < d; i += 4 * 128) store4(dst, i, d, vec, load4(src, i, d, vec));
}

// dst[b] = src[row[b]]
KERNEL __launch_bounds__(128) xent_gather(float* dst, const float* src, const int* row, int d) {
  copy_row(dst + (i64)blockIdx.x * d, src + (i64)row[blockIdx.x] * d, d);
}

// dst[row[b]] = src[b]
KERNEL __launch_bounds__(128) xent_scatter(float* dst, const float* src, const int* row, int d) {
  copy_row(dst + (i64)row[blockIdx.x] * d, src + (i64)blockIdx.x * d, d);
}

KERNEL __launch_bounds__(256) xent_clear(float* x, i64 n) {
  store4(x, ((i64)blockIdx.x * 256 + threadIdx.x) * 4, n, aligned16(x), quad{});
}
