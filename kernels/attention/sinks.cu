// Attention with sinks, float32: what the kernels for attention without any leave to do.
// attention.go says what is computed.
//
// With p = exp(s - lse) over the keys and the sink, an output is the one without a sink times
// σ(lse - sink), and the gradients are the same sums as without one, from that output and the
// new lse. Only a query that sees one key has a gradient by its score that is not 0, which
// attention_sink_first adds.
//
// Floor: drain reads and writes the outputs once; the rest is little. Not measured on a GPU.
// v1  a warp a (token, head), a block a head, a block a first token
#include "../dev/math.cuh"
#include "../dev/warp.cuh"

// o *= σ(lse - sink), lse = ln(exp(lse) + exp(sink)).
KERNEL __launch_bounds__(256) attention_sink_drain(float* o, float* lse, const float* sinks, int tokens, int heads, int width) {
  const i64 at = (i64)blockIdx.x * 8 + threadIdx.x / 32;
  if (at >= (i64)tokens * heads) return;
  float* l = lse + at % heads * tokens + at / heads;
  const float own = *l, away = sinks[at % heads] - own, share = sigmoid(-away);
  for (int d = threadIdx.x % 32; d < width; d += 32) o[at * width + d] *= share;
  if (threadIdx.x % 32 == 0) *l = own + (fmax(away, 0.f) + log(1.f + exp(-abs(away))));
}

// dsinks[h] -= Σ_t exp(sink - lse) (do·o).
KERNEL __launch_bounds__(256) attention_sink_gradient(float* dsinks, const float* lse, const float* delta, const float* sinks, int tokens) {
  __shared__ double part[8];
  const float sink = sinks[blockIdx.x];
  const i64 row = (i64)blockIdx.x * tokens;
  double sum = 0;
  for (int t = threadIdx.x; t < tokens; t += 256) sum += (double)exp(sink - lse[row + t]) * delta[row + t];
  sum = block_sum<256>(sum, part);
  if (threadIdx.x == 0) dsinks[blockIdx.x] -= (float)sum;
}

struct first_arguments {
  const float *q, *k, *v, *lse, *d_o, *delta;
  float *dq, *dk;
  const int* first;  // tokens that see themselves alone
  int tokens, heads, kv_heads, head_dim;
  float scale;
};

// dq and dk of what a token that sees itself alone gives its score.
KERNEL __launch_bounds__(128) attention_sink_first(first_arguments p) {
  __shared__ float part[4];
  const int t = p.first[blockIdx.x], group = p.heads / p.kv_heads;
  const i64 key = ((i64)t * p.kv_heads + blockIdx.y) * p.head_dim;
  for (int h = blockIdx.y * group; h < (blockIdx.y + 1) * group; h++) {
    const i64 query = ((i64)t * p.heads + h) * p.head_dim, row = (i64)h * p.tokens + t;
    float s = 0, dp = 0;
    for (int d = threadIdx.x; d < p.head_dim; d += 128) {
      s = fma(p.q[query + d], p.k[key + d], s);
      dp = fma(p.d_o[query + d], p.v[key + d], dp);
    }
    s = block_sum<128>(s, part);
    dp = block_sum<128>(dp, part);
    const float ds = p.scale * exp(p.scale * s - p.lse[row]) * (dp - p.delta[row]);
    for (int d = threadIdx.x; d < p.head_dim; d += 128) {
      p.dq[query + d] = fma(ds, p.k[key + d], p.dq[query + d]);
      p.dk[key + d] = fma(ds, p.q[query + d], p.dk[key + d]);
    }
  }
}

struct cached_arguments {
  float* o;  // [n, heads, head_dim]
  const float *q, *k, *sinks;
  const int* rows;  // [n][2]: slot and length
  int capacity, heads, kv_heads, head_dim, window;
  float scale;
};

// o *= Σ exp(s) / (Σ exp(s) + exp(sink)), over the keys of a row's sequence.
KERNEL __launch_bounds__(128) attention_sink_cached(cached_arguments p) {
  __shared__ float part[4];
  const int h = blockIdx.y, last = p.rows[2 * blockIdx.x + 1], first = p.window > 0 ? max(0, last - p.window) : 0;
  const float* q = p.q + ((i64)blockIdx.x * p.heads + h) * p.head_dim;
  const i64 ld = (i64)p.kv_heads * p.head_dim;
  const float* k = p.k + (i64)p.rows[2 * blockIdx.x] * p.capacity * ld + (i64)(h / (p.heads / p.kv_heads)) * p.head_dim;
  float top = p.sinks[h], sum = 0;  // of this thread's keys
  for (int j = first + threadIdx.x; j < last; j += 128) {
    float s = 0;
    for (int d = 0; d < p.head_dim; d++) s = fma(q[d], k[j * ld + d], s);
    s *= p.scale;
    const float now = fmax(top, s);
    sum = sum * exp(top - now) + exp(s - now), top = now;
  }
  const float all = block_max<128>(top, part);
  __syncthreads();
  sum = block_sum<128>(sum * exp(top - all), part);
  const float share = sum / (sum + exp(p.sinks[h] - all));
  float* o = p.o + ((i64)blockIdx.x * p.heads + h) * p.head_dim;
  for (int d = threadIdx.x; d < p.head_dim; d += 128) o[d] *= share;
}
