// Routing by scores: scores.go defines it.
//
// A warp owns a token: lane l has experts l, l + 32, …, lane g sums up group g, of at most
// 32. Scores are formed anew in every pass, so that nothing but the probabilities is kept.
// Sums go over fixed trees that depend on the number of experts and of choices alone.
//
// Floor: latency, 2 K + 4 passes over E numbers of the first cache. Not measured on a GPU.
// v1  scores formed again in each of the K passes
#include "../dev/math.cuh"
#include "../dev/warp.cuh"

// sync_warp lets the lanes see what others of their warp have stored.
DEV void sync_warp() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

struct scored {
  const float* logits;  // [T, E]
  const float* bias;    // [E], or null: 0
  float* probs;         // [T, E]
  int* choice;          // [T, K]
  int* likely;          // [T, K]
  float* weight;        // [T, K]
  int tokens, experts, top, normalize, softmax, groups, top_groups;
  float scale, floor;
};

// row is a token's: what its experts are chosen by.
struct row {
  const float *z, *prob, *bias;
  int softmax, size;  // size of a group, 0: there are none
  u32 groups;         // that may be chosen from
};

DEV float score(const row& r, int e) { return r.softmax ? r.prob[e] : sigmoid(r.z[e]); }
DEV float corrected(const row& r, int e) { return r.bias ? score(r, e) + r.bias[e] : score(r, e); }
DEV float order(const row& r, int e) {
  if (!r.size && !r.bias) return r.z[e];  // in whose order the scores are
  if (r.size && !(r.groups >> (e / r.size) & 1)) return -infinity;
  return corrected(r, e);
}

// behind finds the largest of the values behind (last, last_e) in the order (larger, then of
// smaller index), which takes their place; every lane gets it.
template <typename F> DEV void behind(F value, int n, int k, float& last, int& last_e) {
  float best = -infinity;
  int best_e = n;
  for (int e = threadIdx.x % 32; e < n; e += 32) {
    const float v = value(e);
    const bool later = v < last || (v == last && e > last_e);
    if (later && (v > best || best_e == n)) best = v, best_e = e;
  }
#pragma unroll
  for (int m = 16; m > 0; m >>= 1) {
    const float v = shfl_bfly(best, m);
    const int e = (int)shfl_bfly((u32)best_e, m);
    if (v > best || (v == best && e < best_e)) best = v, best_e = e;
  }
  if (best_e == n) best_e = k;  // nothing but NaN
  last = best, last_e = best_e;
}

// allowed are the groups whose two largest experts have the largest sums.
DEV u32 allowed(const row& r, const scored& p) {
  const int lane = threadIdx.x % 32;
  float first = -infinity, second = -infinity;
  if (lane < p.groups)
    for (int e = lane * r.size; e < (lane + 1) * r.size; e++) {
      const float v = corrected(r, e);
      if (v > first) second = first, first = v;
      else if (v > second) second = v;
    }
  const float sum = first + second;
  u32 mask = 0;
  float last = infinity;
  int last_g = -1;
  for (int k = 0; k < p.top_groups; k++) {
    behind([&](int) { return sum; }, p.groups, k, last, last_g);
    mask |= 1u << last_g;
  }
  return mask;
}

KERNEL __launch_bounds__(256) router_scores(scored p) {
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
  sync_warp();

  row r = {z, prob, p.bias, p.softmax, p.groups > 1 ? p.experts / p.groups : 0, 0};
  if (r.size) r.groups = allowed(r, p);
  int* choice = p.choice + (i64)t * p.top;
  float* weight = p.weight + (i64)t * p.top;
  float last = infinity, chosen = 0;
  int last_e = -1;
  for (int k = 0; k < p.top; k++) {
    behind([&](int e) { return order(r, e); }, p.experts, k, last, last_e);
    const float q = score(r, last_e);
    chosen += q;
    if (lane == 0) choice[k] = last_e, weight[k] = q;
  }
  const float factor = p.normalize ? p.scale / fmax(chosen, p.floor) : p.scale;
  if (lane == 0)
    for (int k = 0; k < p.top; k++) weight[k] *= factor;
  last = infinity, last_e = -1;
  for (int k = 0; k < p.top; k++) {
    behind([&](int e) { return prob[e]; }, p.experts, k, last, last_e);
    if (lane == 0) p.likely[(i64)t * p.top + k] = last_e;
  }
}

struct scored_gradient {
  const float *logits, *probs;
  const int* choice;
  const float *weight, *dweight;
  const float* balance;  // [E], or null: 0
  float* dlogits;        // [T, E]
  int tokens, experts, top, normalize, softmax;
  float scale, floor;
};

KERNEL __launch_bounds__(256) router_scores_backward(scored_gradient p) {
  const int lane = threadIdx.x % 32, t = blockIdx.x * 8 + threadIdx.x / 32;
  if (t >= p.tokens) return;
  const float *z = p.logits + (i64)t * p.experts, *prob = p.probs + (i64)t * p.experts;
  const int* choice = p.choice + (i64)t * p.top;
  const float *weight = p.weight + (i64)t * p.top, *dweight = p.dweight + (i64)t * p.top;
  float* d = p.dlogits + (i64)t * p.experts;
  const row r = {z, prob, nullptr, p.softmax, 0, 0};
  // w = s q/D, D = max(Σq, floor), has dq = s (dw - Σ (w/s) dw)/D, without the sum at the floor
  float factor = p.scale, mean = 0.f;
  if (p.normalize) {
    float sum = 0, dot = 0;
    for (int k = 0; k < p.top; k++) sum += score(r, choice[k]), dot = fma(weight[k], dweight[k], dot);
    factor = p.scale / fmax(sum, p.floor);
    if (sum >= p.floor) mean = dot / p.scale;
  }
  double dot = 0;
  for (int e = lane; e < p.experts; e += 32) {
    float g = p.balance ? p.balance[e] : 0.f;
    if (p.softmax)
      for (int k = 0; k < p.top; k++)
        if (choice[k] == e) g = fma(factor, dweight[k] - mean, g);
    d[e] = g, dot += (double)g * prob[e];
  }
  const float average = (float)warp_sum(dot);
  for (int e = lane; e < p.experts; e += 32) {
    float g = prob[e] * (d[e] - average);
    if (!p.softmax)
      for (int k = 0; k < p.top; k++)
        if (choice[k] == e) {
          const float q = sigmoid(z[e]);
          g = fma(factor * (dweight[k] - mean), q * (1.f - q), g);
        }
    d[e] = g;
  }
}
