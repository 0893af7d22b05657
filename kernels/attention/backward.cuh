// backward.cuh: causal attention backward, float32: attention.go says what is computed, tile.cuh how
// a block works. Scores are formed again from q, k and lse. No atomics: one kernel sums
// dq over the keys, another dk and dv over the queries of all heads that share them, in
// a fixed order, so that a segment's bits depend on that segment alone.
//
// Floor: 7 products instead of the 5 that atomics would need: 7 T^2 D FLOP a head
// (causal), 128 multiply-adds a cycle a multiprocessor. Not measured on a GPU.
// v1  tiles of 32, two products over D and one or two over the tile. Heads of 32, 64,
//     128: dq 168, 206, 254 registers, 35, 59, 107 KiB; dk and dv 210, 254, 255
//     registers, 43, 67, 115 KiB; no spills; 1 (128) to 3 blocks a multiprocessor; no
//     bank conflicts (interpreter)
#pragma once
#include "tile.cuh"

constexpr int Bn = 32;

// gradient: s becomes p, ds the gradient of the scaled product, where query i sees key
// j; 0 elsewhere. A query that sees one key has p = 1 whatever the score.
template <bool Capped> DEV void gradient(float& s, float& ds, float lse, float delta, int i, int j, int lo, const arguments& p) {
  float slope;
  const float x = exp(score<Capped>(s, p, slope) - lse);
  const bool there = sees(i, j, p), free = (i > lo) & (p.window != 1);
  ds = (there & free) ? x * (ds - delta) * slope : 0.f;
  s = there ? x : 0.f;
}

template <int D, bool Capped> DEV void backward_q(const arguments& p) {
  float* qs = memory;
  float* gs = qs + block_rows * (D + 4);
  float* ks = gs + block_rows * (D + 4);
  float* vs = ks + Bn * (D + 4);
  float* exchange = vs + Bn * (D + 4);
  const unit u = unit_of(p);
  const int head = blockIdx.y, group = p.heads / p.kv_heads, end = min(u.hi, u.first + block_rows);
  const int row = threadIdx.x / 32 * 16 * (D + 4);  // the warp's first
  const i64 ldq = (i64)p.heads * p.head_dim, ldk = (i64)p.kv_heads * p.head_dim;
  int k0 = u.lo;
  if (p.window > 0) k0 += max(0, u.first - p.window + 1 - u.lo) / Bn * Bn;

  load_rows<block_rows, D>(qs, p.q + head * p.head_dim, ldq, u.first, u.hi, p);
  load_rows<block_rows, D>(gs, p.d_o + head * p.head_dim, ldq, u.first, u.hi, p);
  float lse[4], delta[4], dq[4][D / 8];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int t = u.first + token_row(i);
    lse[i] = delta[i] = 0;
    if (t < end) lse[i] = p.lse[(i64)head * p.tokens + t], delta[i] = p.delta[(i64)head * p.tokens + t];
#pragma unroll
    for (int j = 0; j < D / 8; j++) dq[i][j] = 0;
  }
  for (; k0 < end; k0 += Bn) {
    __syncthreads();  // the tile before is no longer needed
    load_rows<Bn, D>(ks, p.k + head / group * p.head_dim, ldk, k0, u.hi, p);
    load_rows<Bn, D>(vs, p.v + head / group * p.head_dim, ldk, k0, u.hi, p);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    float s[4][Bn / 8], ds[4][Bn / 8];
    scores<D>(s, qs + row, ks);
    scores<D>(ds, gs + row, vs);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < Bn / 8; j++)
        gradient<Capped>(s[i][j], ds[i][j], lse[i], delta[i], u.first + token_row(i), k0 + (int)threadIdx.x % 8 + 8 * j, u.lo, p);
    give(exchange, ds);
    sync_warp();
    add_products<D, Bn>(dq, exchange, ks);
  }
  const float scale[4] = {p.scale, p.scale, p.scale, p.scale};
  store_rows<D>(p.dq + head * p.head_dim, ldq, u.first, end, dq, scale, p);
}

template <int D, bool Capped> DEV void backward_kv(const arguments& p) {
  float* ks = memory;
  float* vs = ks + block_rows * (D + 4);
  float* qs = vs + block_rows * (D + 4);
  float* gs = qs + Bn * (D + 4);
  float* exchange = gs + Bn * (D + 4);
  float* exchange_ds = exchange + Bn * block_rows;
  float* terms = exchange_ds + Bn * block_rows;  // lse and delta of the tile's queries
  const unit u = unit_of(p);
  const int group = p.heads / p.kv_heads, end = min(u.hi, u.first + block_rows);
  const int row = threadIdx.x / 32 * 16 * (D + 4);
  const i64 ldq = (i64)p.heads * p.head_dim, ldk = (i64)p.kv_heads * p.head_dim;
  const int last = p.window > 0 ? min(u.hi, end - 1 + p.window) : u.hi;  // queries that see a key of the block

  load_rows<block_rows, D>(ks, p.k + blockIdx.y * p.head_dim, ldk, u.first, u.hi, p);
  load_rows<block_rows, D>(vs, p.v + blockIdx.y * p.head_dim, ldk, u.first, u.hi, p);
  float dk[4][D / 8], dv[4][D / 8];
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < D / 8; j++) dk[i][j] = dv[i][j] = 0;
  for (int head = blockIdx.y * group; head < (blockIdx.y + 1) * group; head++) {
    for (int q0 = u.first; q0 < last; q0 += Bn) {
      __syncthreads();
      load_rows<Bn, D>(qs, p.q + head * p.head_dim, ldq, q0, u.hi, p);
      load_rows<Bn, D>(gs, p.d_o + head * p.head_dim, ldq, q0, u.hi, p);
      if (threadIdx.x < 2 * Bn) {
        const int t = q0 + threadIdx.x % Bn;
        cp_async_4(shared_address(terms + threadIdx.x), (threadIdx.x < Bn ? p.lse : p.delta) + (i64)head * p.tokens + t, t < u.hi);
      }
      cp_async_commit();
      cp_async_wait<0>();
      __syncthreads();
      float s[4][Bn / 8], ds[4][Bn / 8];
      scores<D>(s, ks + row, qs);
      scores<D>(ds, vs + row, gs);
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < Bn / 8; j++) {
          const int c = threadIdx.x % 8 + 8 * j, t = q0 + c;
          gradient<Capped>(s[i][j], ds[i][j], terms[c], terms[Bn + c], t < u.hi ? t : -1, u.first + token_row(i), u.lo, p);
        }
      give(exchange, s);
      give(exchange_ds, ds);
      sync_warp();
      constexpr int unroll = D == 128 ? 2 : 4;  // registers
      add_products<D, Bn, unroll>(dv, exchange, gs);
      add_products<D, Bn, unroll>(dk, exchange_ds, qs);
    }
  }
  const float scale[4] = {p.scale, p.scale, p.scale, p.scale}, one[4] = {1.f, 1.f, 1.f, 1.f};
  store_rows<D>(p.dk + blockIdx.y * p.head_dim, ldk, u.first, end, dk, scale, p);
  store_rows<D>(p.dv + blockIdx.y * p.head_dim, ldk, u.first, end, dv, one, p);
}
