// forward.cuh: causal attention forward, float32: attention.go says what is computed, tile.cuh how a
// block works. Online softmax over tiles of Bn keys that start at the segment's first
// token: a segment's bits depend on that segment alone. exp and log are good to 1 ulp.
//
// Keys are copied while the values of the tile before are multiplied, values while the
// scores are formed.
//
// Floor: 2 T^2 D FLOP a head (causal), 128 multiply-adds a cycle a multiprocessor. Not
// measured on a GPU.
// v1  scores 4x8 or 4x4 a thread, sums 4x4 to 4x16. Heads of 32, 64, 128: 164, 168, 226
//     registers, 43, 67, 74 KiB, no spills, 3, 2, 2 blocks a multiprocessor; no bank
//     conflicts, full sectors, minimal bytes (interpreter)
#pragma once
#include "tile.cuh"

constexpr float lowest = -3.402823466e38f;

template <int D, int Bn, bool Capped> DEV void forward(const arguments& p) {
  float* qs = memory;
  float* ks = qs + block_rows * (D + 4);
  float* vs = ks + Bn * (D + 4);
  float* exchange = vs + Bn * (D + 4);
  const unit u = unit_of(p);
  const int head = blockIdx.y, group = p.heads / p.kv_heads, end = min(u.hi, u.first + block_rows);
  const i64 ldq = (i64)p.heads * p.head_dim, ldk = (i64)p.kv_heads * p.head_dim;
  const float* k = p.k + head / group * p.head_dim;
  const float* v = p.v + head / group * p.head_dim;
  int k0 = u.lo;
  if (p.window > 0) k0 += max(0, u.first - p.window + 1 - u.lo) / Bn * Bn;

  load_rows<block_rows, D>(qs, p.q + head * p.head_dim, ldq, u.first, u.hi, p);
  load_rows<Bn, D>(ks, k, ldk, k0, u.hi, p);
  cp_async_commit();
  float top[4], sum[4], o[4][D / 8];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    top[i] = lowest, sum[i] = 0;
#pragma unroll
    for (int j = 0; j < D / 8; j++) o[i][j] = 0;
  }
  for (; k0 < end; k0 += Bn) {
    cp_async_wait<0>();
    __syncthreads();  // keys are there, values no longer needed
    load_rows<Bn, D>(vs, v, ldk, k0, u.hi, p);
    cp_async_commit();
    float s[4][Bn / 8];
    scores<D>(s, qs + threadIdx.x / 32 * 16 * (D + 4), ks);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int t = u.first + token_row(i);
      float now = top[i];
#pragma unroll
      for (int j = 0; j < Bn / 8; j++) {
        float slope;
        const float x = score<Capped>(s[i][j], p, slope);
        s[i][j] = sees(t, k0 + (int)threadIdx.x % 8 + 8 * j, p) ? x : -infinity;
        now = fmax(now, s[i][j]);
      }
      now = group_max<8>(now);
      const float shrink = exp(top[i] - now);
      top[i] = now;
      float more = 0;
#pragma unroll
      for (int j = 0; j < Bn / 8; j++) more += s[i][j] = s[i][j] == -infinity ? 0.f : exp(s[i][j] - now);
      sum[i] = fma(sum[i], shrink, group_sum<8>(more));
#pragma unroll
      for (int j = 0; j < D / 8; j++) o[i][j] *= shrink;
    }
    give(exchange, s);
    cp_async_wait<0>();
    __syncthreads();  // values are there, keys no longer needed
    if (k0 + Bn < end) load_rows<Bn, D>(ks, k, ldk, k0 + Bn, u.hi, p);
    cp_async_commit();
    add_products<D, Bn>(o, exchange, vs);
  }
  float scale[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    scale[i] = 1.f / sum[i];
    const int t = u.first + token_row(i);
    if (t < end && threadIdx.x % 8 == 0) p.out_lse[(i64)head * p.tokens + t] = top[i] + log(sum[i]);
  }
  store_rows<D>(p.out + head * p.head_dim, ldq, u.first, end, o, scale, p);
}
