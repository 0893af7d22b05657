// The gated delta rule: deltanet.go says what is computed, and in which chunks.
//
// deltanet_normalise and deltanet_gates prepare queries, keys and gates for all rows. Then
// a block takes one head of one segment, chunk after chunk; its state, and what belongs to
// values, are cut into slices of `slice` columns, which do not know of each other but for
// the gradients of queries and keys. deltanet_forward gives a slice a block;
// deltanet_backward goes through the slices of a chunk one after the other, and adds up in
// memory. Everything of a chunk lies in shared memory, rows one float further apart than
// they are long: lanes that read one column of many rows meet no bank twice.
//
// The states before the chunks, all but a segment's first, lie in saved, which
// deltanet_forward writes when it is asked to. In the place of a state that has been used
// deltanet_backward leaves its gradient, which the chunk before it reads.
//
// Floor: the products with the state, 6 KeyDim ValueDim FLOP a token and head, on FMA
// units; 18 backward. Not measured on a GPU.
// v1  chunks of 32, plain loops over shared memory
#include "../dev/warp.cuh"

constexpr int chunk = 32, slice = 32, threads = 256;
constexpr int most = 128;  // KeyDim
constexpr int kp = most + 1, vp = slice + 1, cp = chunk + 1;

struct rule {
  const float *q, *k;         // [T, KeyHeads, KeyDim], normalised
  const float *rate, *beta;   // [T, ValueHeads]
  const float* v;             // [T, ValueHeads, ValueDim]
  const int *segments, *first;  // cu_seqlens; the place in saved of a segment's second chunk
  float* saved;               // [chunks, ValueHeads, KeyDim, ValueDim]
  int key_heads, value_heads, dk, dv;
};

struct keys {
  float q[chunk * kp], k[chunk * kp];
  float kk[chunk * cp], qk[chunk * cp];  // exp(b_i - b_j) k_i k_j of j < i, and exp(b_i - b_j) q_i k_j of j <= i
  double decay[chunk];  // b, the sum of rates
  float rate[chunk], beta[chunk], grown[chunk];  // grown: exp(b)
};

struct values {
  float s[most * vp];
  float w[chunk * vp];  // u/beta
};

struct forward {
  keys a;
  values x;
};

DEV int key_at(const rule& r, int row, int head) { return (row * r.key_heads + head / (r.value_heads / r.key_heads)) * r.dk; }
DEV i64 value_at(const rule& r, int row, int head) { return ((i64)row * r.value_heads + head) * r.dv; }

// between is exp(b_i - b_j).
DEV float between(const keys& a, int i, int j) { return exp((float)(a.decay[i] - a.decay[j])); }

// load brings a chunk of n rows: queries, keys and gates, and the products of these.
DEV void load(keys& a, const rule& r, int head, int row, int n) {
  for (int i = threadIdx.x; i < n * r.dk; i += threads) {
    const int t = i / r.dk, d = i % r.dk, at = key_at(r, row + t, head) + d;
    a.q[t * kp + d] = r.q[at];
    a.k[t * kp + d] = r.k[at];
  }
  if (threadIdx.x < n) {
    a.rate[threadIdx.x] = r.rate[(row + threadIdx.x) * r.value_heads + head];
    a.beta[threadIdx.x] = r.beta[(row + threadIdx.x) * r.value_heads + head];
  }
  __syncthreads();
  if (threadIdx.x < n) {
    double sum = 0;
    for (int j = 0; j <= threadIdx.x; j++) sum += a.rate[j];
    a.decay[threadIdx.x] = sum;
    a.grown[threadIdx.x] = exp((float)sum);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n * n; i += threads) {
    const int t = i / n, j = i % n;
    if (j > t) continue;
    float kk = 0, qk = 0;
    for (int d = 0; d < r.dk; d++) {
      kk = fma(a.k[t * kp + d], a.k[j * kp + d], kk);
      qk = fma(a.q[t * kp + d], a.k[j * kp + d], qk);
    }
    const float g = between(a, t, j);
    a.kk[t * cp + j] = j < t ? g * kk : 0.f;
    a.qk[t * cp + j] = g * qk;
  }
  __syncthreads();
}

// solve computes w of a slice from the state before the chunk.
DEV void solve(const keys& a, values& x, const rule& r, int head, int row, int n, int from, int cols) {
  for (int i = threadIdx.x; i < n * slice; i += threads) {
    const int t = i / slice, c = i % slice;
    if (c >= cols) continue;
    float sum = 0;
    for (int d = 0; d < r.dk; d++) sum = fma(a.k[t * kp + d], x.s[d * vp + c], sum);
    x.w[t * vp + c] = fma(-a.grown[t], sum, r.v[value_at(r, row + t, head) + from + c]);
  }
  __syncthreads();
  if (threadIdx.x < cols) {
    const int c = threadIdx.x;
    for (int t = 1; t < n; t++) {
      float sum = x.w[t * vp + c];
      for (int j = 0; j < t; j++) sum = fma(-a.kk[t * cp + j] * a.beta[j], x.w[j * vp + c], sum);
      x.w[t * vp + c] = sum;
    }
  }
  __syncthreads();
}

// advance makes the state the one behind the chunk.
DEV void advance(const keys& a, values& x, const rule& r, int n, int cols) {
  const float e = a.grown[n - 1];
  for (int i = threadIdx.x; i < r.dk * slice; i += threads) {
    const int d = i / slice, c = i % slice;
    if (c >= cols) continue;
    float sum = e * x.s[d * vp + c];
    for (int j = 0; j < n; j++) sum = fma(between(a, n - 1, j) * a.k[j * kp + d] * a.beta[j], x.w[j * vp + c], sum);
    x.s[d * vp + c] = sum;
  }
  __syncthreads();
}

// Where a slice of a state [KeyDim, ValueDim] lies in memory.
DEV i64 state_at(const rule& r, int place, int head) { return ((i64)place * r.value_heads + head) * r.dk * r.dv; }

// deltanet_forward computes out, unless it is null; keeps the states before the chunks in
// saved, unless that is null; and puts the last state into states at slots, unless they are
// null.
KERNEL __launch_bounds__(threads) deltanet_forward(rule r, float* out, const int* slots, float* states) {
  extern __shared__ __align__(16) u8 memory[];
  keys& a = ((forward*)memory)->a;
  values& x = ((forward*)memory)->x;
  const int head = blockIdx.x % r.value_heads, segment = blockIdx.x / r.value_heads;
  const int from = blockIdx.y * slice, cols = min(slice, r.dv - from), end = r.segments[segment + 1];
  for (int i = threadIdx.x; i < most * vp; i += threads) x.s[i] = 0.f;
  int place = r.first[segment];
  for (int row = r.segments[segment]; row < end; row += chunk) {
    const int n = min(chunk, end - row);
    load(a, r, head, row, n);
    solve(a, x, r, head, row, n, from, cols);
    if (out) {
      for (int i = threadIdx.x; i < n * slice; i += threads) {
        const int t = i / slice, c = i % slice;
        if (c >= cols) continue;
        float sum = 0;
        for (int d = 0; d < r.dk; d++) sum = fma(a.q[t * kp + d], x.s[d * vp + c], sum);
        sum *= a.grown[t];
        for (int j = 0; j <= t; j++) sum = fma(a.qk[t * cp + j] * a.beta[j], x.w[j * vp + c], sum);
        out[value_at(r, row + t, head) + from + c] = sum;
      }
      __syncthreads();
    }
    advance(a, x, r, n, cols);
    if (r.saved && row + chunk < end) {
      float* to = r.saved + state_at(r, place++, head);
      for (int i = threadIdx.x; i < r.dk * slice; i += threads)
        if (i % slice < cols) to[i / slice * r.dv + from + i % slice] = x.s[i / slice * vp + i % slice];
    }
  }
  if (states) {
    float* to = states + state_at(r, slots[segment], head);
    for (int i = threadIdx.x; i < r.dk * slice; i += threads)
      if (i % slice < cols) to[i / slice * r.dv + from + i % slice] = x.s[i / slice * vp + i % slice];
  }
}

// Gradients: dq and dk [T, ValueHeads, KeyDim] of the normalised ones, sums
// [segments, ValueHeads, 2] of ALog and DtBias.
struct slopes {
  const float *dout, *a, *b, *a_log, *dt_bias;
  float *dq, *dk, *dv, *da, *db, *sums;
};

struct backward {
  keys a;
  values x;
  float ds[most * vp];                                // of the state behind the chunk; then of that before it
  float d_out[chunk * vp], du[chunk * vp];
  float xs[chunk * cp], ys[chunk * cp];               // of qk and kk, before the decay between the tokens
  double decay[chunk], carried[chunk];                // carried: what the state behind the chunk says to the decay
  float beta[chunk];
  float part[threads / 32];
};

// from_outputs computes du of a slice but for what later tokens of the chunk add, and begins with
// what the state behind the chunk says.
DEV void from_outputs(backward& m, const rule& r, int n, int cols) {
  const keys& a = m.a;
  for (int i = threadIdx.x; i < n * slice; i += threads) {
    const int j = i / slice, c = i % slice;
    float sum = 0;
    if (c < cols)
      for (int d = 0; d < r.dk; d++) sum = fma(a.k[j * kp + d], m.ds[d * vp + c], sum);
    sum *= between(a, n - 1, j);
    const float along = warp_sum(c < cols ? sum * a.beta[j] * m.x.w[j * vp + c] : 0.f);
    if (c == 0) m.carried[j] += along;
    for (int t = j; t < n && c < cols; t++) sum = fma(a.qk[t * cp + j], m.d_out[t * vp + c], sum);
    m.du[j * vp + c] = sum;
  }
  __syncthreads();
}

// from_system goes back through the triangular system, last token first: du becomes the
// gradient of u; that of w is beta times it.
DEV void from_system(backward& m, int n, int cols) {
  const keys& a = m.a;
  if (threadIdx.x < cols) {
    const int c = threadIdx.x;
    for (int t = n - 2; t >= 0; t--) {
      float sum = m.du[t * vp + c];
      for (int i = t + 1; i < n; i++) sum = fma(-a.kk[i * cp + t] * a.beta[i], m.du[i * vp + c], sum);
      m.du[t * vp + c] = sum;
    }
  }
  __syncthreads();
}

// products adds a slice's part of the gradients of qk, kk and beta.
DEV void products(backward& m, int n, int cols) {
  const keys& a = m.a;
  for (int i = threadIdx.x; i < n * n; i += threads) {
    const int t = i / n, j = i % n;
    if (j > t) continue;
    float x = 0, y = 0;
    for (int c = 0; c < cols; c++) {
      x = fma(m.d_out[t * vp + c], m.x.w[j * vp + c], x);
      y = fma(m.du[t * vp + c], m.x.w[j * vp + c], y);
    }
    m.xs[t * cp + j] += a.beta[j] * x;
    if (j < t) m.ys[t * cp + j] -= a.beta[t] * a.beta[j] * y;
    else m.beta[t] += y;
  }
}

// through_state adds a slice's part of dq and dk that goes through the two states.
DEV void through_state(backward& m, const rule& r, const slopes& g, int head, int row, int n, int cols, bool fresh) {
  const keys& a = m.a;
  for (int i = threadIdx.x; i < n * r.dk; i += threads) {
    const int t = i / r.dk, d = i % r.dk;
    const i64 at = ((i64)(row + t) * r.value_heads + head) * r.dk + d;
    float dq = 0, dk = 0, behind = 0;
    for (int c = 0; c < cols; c++) {
      dq = fma(m.x.s[d * vp + c], m.d_out[t * vp + c], dq);
      dk = fma(m.x.s[d * vp + c], m.du[t * vp + c], dk);
      behind = fma(m.ds[d * vp + c], m.x.w[t * vp + c], behind);
    }
    dq *= a.grown[t];
    dk = a.beta[t] * (between(a, n - 1, t) * behind - a.grown[t] * dk);
    g.dq[at] = fresh ? dq : g.dq[at] + dq;
    g.dk[at] = fresh ? dk : g.dk[at] + dk;
  }
}

// before makes ds the gradient of the state before the chunk.
DEV void before(backward& m, const rule& r, int n, int cols) {
  const keys& a = m.a;
  float along = 0;
  for (int i = threadIdx.x; i < r.dk * slice; i += threads) {
    const int d = i / slice, c = i % slice;
    if (c >= cols) continue;
    float sum = a.grown[n - 1] * m.ds[d * vp + c];
    along = fma(m.x.s[d * vp + c], sum, along);
    for (int t = 0; t < n; t++) {
      sum = fma(a.grown[t] * a.q[t * kp + d], m.d_out[t * vp + c], sum);
      sum = fma(-a.grown[t] * a.k[t * kp + d] * a.beta[t], m.du[t * vp + c], sum);
    }
    m.ds[d * vp + c] = sum;
  }
  along = block_sum<threads>(along, m.part);
  if (threadIdx.x == 0) m.decay[n - 1] += along;
  __syncthreads();
}

// one_slice is a slice's part of a chunk's backward pass.
DEV void one_slice(backward& m, const rule& r, const slopes& g, int head, int row, int n, int from, const float* state, float* behind) {
  const int cols = min(slice, r.dv - from);
  for (int i = threadIdx.x; i < r.dk * slice; i += threads) {
    const int d = i / slice, c = i % slice;
    const bool there = c < cols;
    m.x.s[d * vp + c] = there && state ? state[d * r.dv + from + c] : 0.f;
    m.ds[d * vp + c] = there && behind ? behind[d * r.dv + from + c] : 0.f;
  }
  for (int i = threadIdx.x; i < n * slice; i += threads)
    m.d_out[i / slice * vp + i % slice] = i % slice < cols ? g.dout[value_at(r, row + i / slice, head) + from + i % slice] : 0.f;
  __syncthreads();
  solve(m.a, m.x, r, head, row, n, from, cols);
  from_outputs(m, r, n, cols);
  from_system(m, n, cols);
  for (int i = threadIdx.x; i < n * slice; i += threads)
    if (i % slice < cols) g.dv[value_at(r, row + i / slice, head) + from + i % slice] = m.a.beta[i / slice] * m.du[i / slice * vp + i % slice];
  products(m, n, cols);
  through_state(m, r, g, head, row, n, cols, from == 0);
  __syncthreads();
  before(m, r, n, cols);
}

// finish adds what qk and kk say to dq, dk and the decays.
DEV void finish(backward& m, const rule& r, const slopes& g, int head, int row, int n) {
  const keys& a = m.a;
  if (threadIdx.x < n) {
    // The part of dq and dk that went through the states, along q and k.
    const int t = threadIdx.x;
    const i64 at = ((i64)(row + t) * r.value_heads + head) * r.dk;
    double sum = -2 * m.carried[t];  // what one token gains another loses: float32 would leave a rest
    for (int d = 0; d < r.dk; d++) sum += (double)(a.q[t * kp + d] * g.dq[at + d]) + a.k[t * kp + d] * g.dk[at + d];
    for (int j = 0; j < t; j++) sum += (double)(m.xs[t * cp + j] * a.qk[t * cp + j]) + m.ys[t * cp + j] * a.kk[t * cp + j];
    for (int i = t + 1; i < n; i++) sum -= (double)(m.xs[i * cp + t] * a.qk[i * cp + t]) + m.ys[i * cp + t] * a.kk[i * cp + t];
    m.decay[t] += sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    double sum = 0;
    for (int j = 0; j < n; j++) sum += m.carried[j];
    m.decay[n - 1] += sum;
  }
  for (int i = threadIdx.x; i < n * n; i += threads) {
    const int t = i / n, j = i % n;
    if (j > t) continue;
    const float e = between(a, t, j);
    m.xs[t * cp + j] *= e;
    m.ys[t * cp + j] *= e;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n * r.dk; i += threads) {
    const int t = i / r.dk, d = i % r.dk;
    const i64 at = ((i64)(row + t) * r.value_heads + head) * r.dk + d;
    float dq = g.dq[at], dk = g.dk[at];
    for (int j = 0; j <= t; j++) dq = fma(m.xs[t * cp + j], a.k[j * kp + d], dq);
    for (int j = 0; j < t; j++) dk = fma(m.ys[t * cp + j], a.k[j * kp + d], dk);
    for (int j = t; j < n; j++) dk = fma(m.xs[j * cp + t], a.q[j * kp + d], dk);
    for (int j = t + 1; j < n; j++) dk = fma(m.ys[j * cp + t], a.k[j * kp + d], dk);
    g.dq[at] = dq;
    g.dk[at] = dk;
  }
}

// gates writes da and db of a chunk, and leaves in decay and carried a token's parts of the
// gradients of ALog and DtBias.
DEV void gates(backward& m, const rule& r, const slopes& g, int head, int row, int n) {
  const int t = threadIdx.x;
  double sum = 0;
  float da = 0;
  if (t < n) {
    for (int i = n - 1; i >= t; i--) sum += m.decay[i];
    const int at = (row + t) * r.value_heads + head;
    da = -(float)sum * exp(g.a_log[head]) * sigmoid(g.a[at] + g.dt_bias[head]);
    g.da[at] = da;
    g.db[at] = m.beta[t] * m.a.beta[t] * sigmoid(-g.b[at]);
  }
  __syncthreads();
  if (t < n) {
    m.decay[t] = sum * m.a.rate[t];
    m.carried[t] = da;
  }
  __syncthreads();
}

KERNEL __launch_bounds__(threads) deltanet_backward(rule r, slopes g) {
  extern __shared__ __align__(16) u8 memory[];
  backward& m = *(backward*)memory;
  const int head = blockIdx.x % r.value_heads, segment = blockIdx.x / r.value_heads;
  const int start = r.segments[segment], end = r.segments[segment + 1];
  double a_log = 0, dt_bias = 0;
  for (int i = (end - start - 1) / chunk; i >= 0; i--) {
    const int row = start + i * chunk, n = min(chunk, end - row);
    const float* state = i > 0 ? r.saved + state_at(r, r.first[segment] + i - 1, head) : 0;
    float* behind = row + chunk < end ? r.saved + state_at(r, r.first[segment] + i, head) : 0;
    for (int j = threadIdx.x; j < chunk * cp; j += threads) m.xs[j] = m.ys[j] = 0.f;
    if (threadIdx.x < chunk) m.decay[threadIdx.x] = m.carried[threadIdx.x] = m.beta[threadIdx.x] = 0.f;
    load(m.a, r, head, row, n);
    for (int from = 0; from < r.dv; from += slice) {
      one_slice(m, r, g, head, row, n, from, state, behind);
      if (i > 0) {
        float* to = r.saved + state_at(r, r.first[segment] + i - 1, head);
        for (int j = threadIdx.x; j < r.dk * slice; j += threads)
          if (from + j % slice < r.dv) to[j / slice * r.dv + from + j % slice] = m.ds[j / slice * vp + j % slice];
      }
      __syncthreads();
    }
    finish(m, r, g, head, row, n);
    gates(m, r, g, head, row, n);
    for (int j = 0; j < n; j++) a_log += m.decay[j], dt_bias += m.carried[j];
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    g.sums[2 * blockIdx.x] = (float)a_log;
    g.sums[2 * blockIdx.x + 1] = (float)dt_bias;
  }
}

// What deltanet_normalise and deltanet_gates prepare, and deltanet_unnormalise reads.
struct prepared {
  const float *q, *k;  // [T, KeyHeads, KeyDim]
  float *nq, *nk;      // likewise, normalised
  float* lengths;      // [T, KeyHeads, 2], 1/sqrt(sum of squares + 1e-6) of q and k
  int rows, heads, dk; // rows are the tokens', times KeyHeads
};

// A warp takes a head of keys of a token.
KERNEL __launch_bounds__(128) deltanet_normalise(prepared p) {
  const int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= p.rows) return;
  const i64 at = (i64)row * p.dk;
  float sq = 0, sk = 0;
  for (int d = lane; d < p.dk; d += 32) {
    sq = fma(p.q[at + d], p.q[at + d], sq);
    sk = fma(p.k[at + d], p.k[at + d], sk);
  }
  const float rq = 1.f / sqrt(warp_sum(sq) + 1e-6f), rk = 1.f / sqrt(warp_sum(sk) + 1e-6f);
  const float scale = rq / sqrt((float)p.dk);
  for (int d = lane; d < p.dk; d += 32) {
    p.nq[at + d] = p.q[at + d] * scale;
    p.nk[at + d] = p.k[at + d] * rk;
  }
  if (lane == 0) p.lengths[2 * row] = rq, p.lengths[2 * row + 1] = rk;
}

// softplus is log(1 + exp(x)).
DEV float softplus(float x) {
  if (x > 20.f) return x;
  const float e = exp(x), u = 1.f + e;
  return u == 1.f ? e : log(u) * (e / (u - 1.f));  // the rounding of u falls out
}

KERNEL __launch_bounds__(256) deltanet_gates(const float* a, const float* b, const float* a_log, const float* dt_bias, float* rate, float* beta, int n, int heads) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  if (i >= n) return;
  rate[i] = -exp(a_log[i % heads]) * softplus(a[i] + dt_bias[i % heads]);
  beta[i] = sigmoid(b[i]);
}

// deltanet_unnormalise adds up the heads of values that share a key, from_q and from_k
// [T, ValueHeads, KeyDim], and goes back through the normalisation. A warp takes a head of
// keys of a token.
KERNEL __launch_bounds__(128) deltanet_unnormalise(prepared p, const float* from_q, const float* from_k, float* dq, float* dk, int group) {
  const int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= p.rows) return;
  const i64 at = (i64)row * p.dk;
  float gq[most / 32], gk[most / 32], aq = 0, ak = 0;
#pragma unroll
  for (int i = 0; i < most / 32; i++) {
    const int d = lane + 32 * i;
    gq[i] = gk[i] = 0.f;
    if (d >= p.dk) continue;
    for (int h = 0; h < group; h++) {
      gq[i] += from_q[(at * group) + (i64)h * p.dk + d];
      gk[i] += from_k[(at * group) + (i64)h * p.dk + d];
    }
    aq = fma(gq[i], p.nq[at + d], aq);
    ak = fma(gk[i], p.nk[at + d], ak);
  }
  const float root = sqrt((float)p.dk), rq = p.lengths[2 * row], rk = p.lengths[2 * row + 1];
  aq = warp_sum(aq) * root, ak = warp_sum(ak);
#pragma unroll
  for (int i = 0; i < most / 32; i++) {
    const int d = lane + 32 * i;
    if (d >= p.dk) continue;
    dq[at + d] = rq * (gq[i] / root - aq * p.nq[at + d]);
    dk[at + d] = rk * (gk[i] - ak * p.nk[at + d]);
  }
}

// deltanet_sums adds a head's sums by segment, in their order, to the gradients of ALog and
// DtBias, which may be null.
KERNEL __launch_bounds__(128) deltanet_sums(const float* sums, float* a_log, float* dt_bias, int segments, int heads) {
  const int h = blockIdx.x * 128 + threadIdx.x;
  if (h >= heads) return;
  float a = 0, d = 0;
  for (int i = 0; i < segments; i++) {
    a += sums[2 * (i * heads + h)];
    d += sums[2 * (i * heads + h) + 1];
  }
  if (a_log) a_log[h] += a;
  if (dt_bias) dt_bias[h] += d;
}

// deltanet_step is the rule as it is written, for one row a sequence; a thread takes a
// column of a head's state.
KERNEL __launch_bounds__(128) deltanet_step(rule r, float* out, const int* slots, float* states) {
  const int c = blockIdx.y * 128 + threadIdx.x, head = blockIdx.x % r.value_heads, row = blockIdx.x / r.value_heads;
  if (c >= r.dv) return;
  const int gate = row * r.value_heads + head;
  const float *k = r.k + key_at(r, row, head), *q = r.q + key_at(r, row, head);
  float* s = states + state_at(r, slots[row], head) + c;
  const float e = exp(r.rate[gate]);
  float seen = 0, o = 0;
  for (int d = 0; d < r.dk; d++) seen = fma(k[d], e * s[(i64)d * r.dv], seen);
  const float u = r.beta[gate] * (r.v[value_at(r, row, head) + c] - seen);
  for (int d = 0; d < r.dk; d++) {
    const float next = fma(k[d], u, e * s[(i64)d * r.dv]);
    s[(i64)d * r.dv] = next;
    o = fma(q[d], next, o);
  }
  out[value_at(r, row, head) + c] = o;
}
