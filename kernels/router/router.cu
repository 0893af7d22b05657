// The mixture of experts around the experts: router.go defines it.
//
// A warp owns a token's gate: lane l has experts l, l + 32, …, K passes find the K largest.
// A block owns a row that is copied to an expert or back. Sums are over fixed trees that depend
// on the number of experts, of choices or of columns alone.
//
// Floor: the gate is latency, K + 3 passes over E numbers of the first cache; the rows'
// ways read and write each number once (combine reads K). Not measured on a GPU.
// v1  16-byte accesses: at most 45 registers, no spills, 62 % of the warps or more; rows move the least bytes in full
//     sectors, without bank conflicts (interpreter)
// v2  the plan is made here, not on the host, for which every layer of a pass waited: a block an
//     expert, two passes over the choices, which the second-level cache holds
#include "../dev/quad.cuh"
#include "../dev/vote.cuh"
#include "../dev/warp.cuh"

struct gate {
  const float* logits;  // [T, E]
  float* probs;         // [T, E]
  int* choice;          // [T, K]
  float* weight;        // [T, K]
  int tokens, experts, top, normalize;
};

KERNEL __launch_bounds__(256) router_forward(gate p) {
  const int lane = threadIdx.x % 32, t = blockIdx.x * 8 + threadIdx.x / 32;
  if (t >= p.tokens) return;
  const float* z = p.logits + (i64)t * p.experts;
  float* prob = p.probs + (i64)t * p.experts;
  float largest = -infinity, sum = 0;
  for (int e = lane; e < p.experts; e += 32) largest = fmax(largest, z[e]);
  largest = warp_max(largest);
  for (int e = lane; e < p.experts; e += 32) {
    const float v = exp(z[e] - largest);
    prob[e] = v, sum += v;
  }
  const float share = 1.f / warp_sum(sum);
  for (int e = lane; e < p.experts; e += 32) prob[e] *= share;

  // The next choice is the largest entry behind the last one in the order (larger, then
  // of smaller index).
  int* choice = p.choice + (i64)t * p.top;
  float* weight = p.weight + (i64)t * p.top;
  float last = infinity, chosen = 0;
  int last_e = -1;
  for (int k = 0; k < p.top; k++) {
    float best = -infinity;
    int best_e = p.experts;
    for (int e = lane; e < p.experts; e += 32) {
      const float v = prob[e];
      const bool behind = v < last || (v == last && e > last_e);
      if (behind && v > best) best = v, best_e = e;
    }
#pragma unroll
    for (int m = 16; m > 0; m >>= 1) {
      const float v = shfl_bfly(best, m);
      const int e = (int)shfl_bfly((u32)best_e, m);
      if (v > best || (v == best && e < best_e)) best = v, best_e = e;
    }
    if (best_e == p.experts) best_e = k;  // nothing but NaN
    last = best, last_e = best_e, chosen += best;
    if (lane == 0) choice[k] = best_e, weight[k] = best;
  }
  if (p.normalize && lane == 0)
    for (int k = 0; k < p.top; k++) weight[k] /= chosen;
}

struct gate_gradient {
  const float* probs;
  const int* choice;
  const float* weight;
  const float* dweight;  // or null: 0
  const float* balance;  // [E], or null: 0
  float* dlogits;        // [T, E]
  int tokens, experts, top, normalize;
};

KERNEL __launch_bounds__(256) router_backward(gate_gradient p) {
  const int lane = threadIdx.x % 32, t = blockIdx.x * 8 + threadIdx.x / 32;
  if (t >= p.tokens) return;
  const float* prob = p.probs + (i64)t * p.experts;
  const int* choice = p.choice + (i64)t * p.top;
  const float *weight = p.weight + (i64)t * p.top, *dweight = p.dweight + (i64)t * p.top;
  float* d = p.dlogits + (i64)t * p.experts;
  // w = q/Σq has dq = (dw - Σ w dw)/Σq
  float scale = 1.f, mean = 0.f;
  if (p.normalize && p.dweight) {
    float sum = 0;
    for (int k = 0; k < p.top; k++) sum += prob[choice[k]], mean += weight[k] * dweight[k];
    scale = 1.f / sum;
  }
  double dot = 0;
  for (int e = lane; e < p.experts; e += 32) {
    float g = p.balance ? p.balance[e] : 0.f;
    if (p.dweight)
      for (int k = 0; k < p.top; k++)
        if (choice[k] == e) g += scale * (dweight[k] - mean);
    d[e] = g, dot += (double)g * prob[e];
  }
  const float average = (float)warp_sum(dot);
  for (int e = lane; e < p.experts; e += 32) d[e] = prob[e] * (d[e] - average);
}

struct planned {
  const int* choice;                    // [T K]
  int *token, *slot, *offsets, *tiles;  // tiles [2 most]
  int choices, experts, top, most;
};

constexpr int max_experts = 1024, tile_rows = 128, planners = 512;

DEV int tiles_of(u32 rows) { return (rows + tile_rows - 1) / tile_rows; }

// The tokens by expert: router.Plan. Block e places expert e's, in their order: all blocks
// count all choices, and a warp the places of its part of them.
KERNEL __launch_bounds__(planners) router_plan(planned p) {
  __shared__ u32 counts[max_experts], part[planners / 32], mine[planners / 32];
  const int e = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int i = threadIdx.x; i < p.experts; i += planners) counts[i] = 0;
  __syncthreads();
  const int share = (p.choices + planners - 1) / planners * 32, begin = warp * share, end = min(p.choices, begin + share);
  u32 found = 0;
  for (int i = begin; i < end; i += 32) {
    const int c = i + lane < end ? p.choice[i + lane] : -1;
    if (c >= 0) count_one(&counts[c]);
    found += __builtin_popcount(ballot(c == e));
  }
  if (lane == 0) mine[warp] = found;
  __syncthreads();

  u32 first = 0, tile = 0, all_tiles = 0;
  for (int i = threadIdx.x; i < p.experts; i += planners) {
    const u32 n = counts[i];
    if (i < e) first += n, tile += tiles_of(n);
    all_tiles += tiles_of(n);
  }
  first = block_sum<planners>(first, part);
  tile = block_sum<planners>(tile, part);
  all_tiles = block_sum<planners>(all_tiles, part);
  for (int i = threadIdx.x; i < tiles_of(counts[e]); i += planners) {
    p.tiles[2 * (tile + i)] = e;
    p.tiles[2 * (tile + i) + 1] = first + i * tile_rows;
  }
  if (threadIdx.x == 0) p.offsets[e] = first;
  if (e == p.experts - 1) {
    for (int i = 2 * all_tiles + threadIdx.x; i < 2 * p.most; i += planners) p.tiles[i] = -1;
    if (threadIdx.x == 0) p.offsets[p.experts] = p.choices;
  }

  u32 place = first;
  for (int w = 0; w < warp; w++) place += mine[w];
  for (int i = begin; i < end; i += 32) {
    const bool here = i + lane < end && p.choice[i + lane] == e;
    const u32 all = ballot(here), at = place + __builtin_popcount(all & ((1u << lane) - 1));
    if (here) p.slot[i + lane] = at, p.token[at] = (i + lane) / p.top;
    place += __builtin_popcount(all);
  }
}

constexpr int threads = 128, stride = 4 * threads;

// out[i] = x[from[i]], rows of d.
KERNEL __launch_bounds__(threads) router_dispatch(float* out, const float* x, const int* from, int d) {
  const bool vec = aligned16(out, x) && d % 4 == 0;
  float* dst = out + (i64)blockIdx.x * d;
  const float* src = x + (i64)from[blockIdx.x] * d;
  for (int i = 4 * threadIdx.x; i < d; i += stride) store4(dst, i, d, vec, load4(src, i, d, vec));
}

// out[t] = Σ_k weight[t, k] y[slot[t, k]] in the order of k; weight null: 1.
KERNEL __launch_bounds__(threads) router_combine(float* out, const float* y, const int* slot, const float* weight, int top, int d) {
  const bool vec = aligned16(out, y) && d % 4 == 0;
  const i64 first = (i64)blockIdx.x * top;
  for (int i = 4 * threadIdx.x; i < d; i += stride) {
    quad sum = {};
    for (int k = 0; k < top; k++) {
      const quad q = load4(y + (i64)slot[first + k] * d, i, d, vec);
      const float w = weight ? weight[first + k] : 1.f;
#pragma unroll
      for (int j = 0; j < 4; j++) sum.v[j] = fma(w, q.v[j], sum.v[j]);
    }
    store4(out + (i64)blockIdx.x * d, i, d, vec, sum);
  }
}

// dy[slot] = weight dout[t] and dweight = dout[t]·y[slot]; dy may be y.
KERNEL __launch_bounds__(threads) router_combine_backward(float* dy, float* dweight, const float* dout, const float* y, const int* slot, const float* weight, int top, int d) {
  __shared__ float part[threads / 32];
  const bool vec = aligned16(dy, dout, y) && d % 4 == 0;
  const i64 at = (i64)slot[blockIdx.x] * d;
  const float* g = dout + (i64)(blockIdx.x / top) * d;
  const float w = weight[blockIdx.x];
  float dot = 0;
  for (int i = 4 * threadIdx.x; i < d; i += stride) {
    quad a = load4(g, i, d, vec), b = load4(y + at, i, d, vec);
#pragma unroll
    for (int j = 0; j < 4; j++) dot = fma(a.v[j], b.v[j], dot), a.v[j] *= w;
    store4(dy + at, i, d, vec, a);
  }
  dot = block_sum<threads>(dot, part);
  if (threadIdx.x == 0) dweight[blockIdx.x] = dot;
}

// out[t] = σ(gate[t]) x[t]; out may be x.
KERNEL __launch_bounds__(threads) router_gate(float* out, const float* x, const float* gate, int d) {
  const bool vec = aligned16(out, x) && d % 4 == 0;
  const i64 row = (i64)blockIdx.x * d;
  const float s = sigmoid(gate[blockIdx.x]);
  for (int i = 4 * threadIdx.x; i < d; i += stride) {
    quad q = load4(x + row, i, d, vec);
#pragma unroll
    for (int j = 0; j < 4; j++) q.v[j] *= s;
    store4(out + row, i, d, vec, q);
  }
}

// dx[t] = σ dout[t], dgate[t] = σ (1 - σ) dout[t]·x[t]; dx may be dout or x.
KERNEL __launch_bounds__(threads) router_gate_backward(float* dx, float* dgate, const float* dout, const float* x, const float* gate, int d) {
  __shared__ float part[threads / 32];
  const bool vec = aligned16(dx, dout, x) && d % 4 == 0;
  const i64 row = (i64)blockIdx.x * d;
  const float s = sigmoid(gate[blockIdx.x]);
  float dot = 0;
  for (int i = 4 * threadIdx.x; i < d; i += stride) {
    quad a = load4(dout + row, i, d, vec), b = load4(x + row, i, d, vec);
#pragma unroll
    for (int j = 0; j < 4; j++) dot = fma(a.v[j], b.v[j], dot), a.v[j] *= s;
    store4(dx + row, i, d, vec, a);
  }
  dot = block_sum<threads>(dot, part);
  if (threadIdx.x == 0) dgate[blockIdx.x] = s * (1.f - s) * dot;
}
