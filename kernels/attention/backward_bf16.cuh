// backward_bf16.cuh: causal attention backward on bf16, float32 sums: bf16.go says what
// is computed, bf16.cuh how a block works. Scores are formed again from q, k and lse;
// p and ds are rounded to bf16 on their way into the next product. No atomics: one
// kernel sums dq over the keys, another dk and dv over the queries of all heads that
// share them, in a fixed order, so that a segment's bits depend on that segment alone.
//
// Two tiles of the other side are in shared memory: one is copied while the other is
// multiplied.
//
// Floor: 7 products instead of the 5 that atomics would need: 7 T^2 D FLOP a head
// (causal) at the tensor cores' rate. Not measured on a GPU.
// v1  Heads of 32, 64, 128: dq 144, 167, 223 registers, 24, 48, 64 KiB, 3, 3, 2 blocks a
//     multiprocessor; dk and dv 167, 242, 249 registers, 25, 49, 64 KiB, 3, 2, 2 blocks; no
//     spills, no bank conflicts, full sectors, minimal bytes (interpreter)
#pragma once
#include "bf16.cuh"

// As many rows as leave room in the registers.
template <int D> constexpr int keys_tile = D == 128 ? 32 : 64;
template <int D, bool Capped> constexpr int queries_tile = D < 128 ? 64 : Capped ? 16 : 32;

// gradient: s becomes p, ds the gradient of the scaled product, where query i sees key
// j; 0 elsewhere. A query that sees one key has p = 1 whatever the score. lse is in
// binary logarithms.
template <bool Capped> DEV void gradient(float& s, float& ds, float lse, float delta, bool there, bool free, const arguments& p) {
  float slope;
  const float x = exp2_approx(fma(score<Capped>(s, p, slope), unit_of_score<Capped>(p) * log2e, -lse));
  ds = (there & free) ? x * (ds - delta) * slope : 0.f;
  s = there ? x : 0.f;
}

template <int D, bool Capped> DEV void backward_q(const arguments& p) {
  constexpr int Bn = keys_tile<D>;
  const u32 qs = shared_address(memory), gs = qs + tile_bytes<block_rows, D>, ring = gs + tile_bytes<block_rows, D>;
  const unit u = unit_of(p);
  const int head = blockIdx.y, group = p.heads / p.kv_heads, end = min(u.hi, u.first + block_rows);
  const int row = threadIdx.x / 32 * 16;  // the warp's first
  const i64 ldq = (i64)p.heads * p.head_dim, ldk = (i64)p.kv_heads * p.head_dim;
  int k0 = u.lo;
  if (p.window > 0) k0 += max(0, u.first - p.window + 1 - u.lo) / Bn * Bn;
  auto fetch = [&](int at, u32 to) {
    if (at < end) {
      load_rows<Bn, D>(to, p.k + head / group * p.head_dim, ldk, at, u.hi, p.head_dim);
      load_rows<Bn, D>(to + tile_bytes<Bn, D>, p.v + head / group * p.head_dim, ldk, at, u.hi, p.head_dim);
    }
    cp_async_commit();
  };

  load_rows<block_rows, D>(qs, p.q + head * p.head_dim, ldq, u.first, u.hi, p.head_dim);
  load_rows<block_rows, D>(gs, p.d_o + head * p.head_dim, ldq, u.first, u.hi, p.head_dim);
  fetch(k0, ring);
  float lse[2], delta[2], dq[D / 8][4];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int t = u.first + token_row(h);
    lse[h] = delta[h] = 0;
    if (t < end) lse[h] = p.lse[(i64)head * p.tokens + t] * log2e, delta[h] = p.delta[(i64)head * p.tokens + t];
  }
  zero(dq);
  for (u32 stage = 0; k0 < end; k0 += Bn, stage ^= 1) {
    const u32 ks = ring + stage * 2 * tile_bytes<Bn, D>, vs = ks + tile_bytes<Bn, D>;
    cp_async_wait<0>();
    __syncthreads();  // the tile is there, the one before no longer needed
    fetch(k0 + Bn, ring + (stage ^ 1) * 2 * tile_bytes<Bn, D>);
    float s[Bn / 8][4], ds[Bn / 8][4];
    scores<D>(s, qs, row, ks);
    scores<D>(ds, gs, row, vs);
#pragma unroll
    for (int j = 0; j < Bn / 8; j++)
#pragma unroll
      for (int l = 0; l < 4; l++) {
        const int t = u.first + token_row(l / 2);
        gradient<Capped>(s[j][l], ds[j][l], lse[l / 2], delta[l / 2], sees(t, k0 + column(j, l), p.window), (t > u.lo) & (p.window != 1), p);
      }
    add_products<D>(dq, ds, ks);
  }
  store_rows<D>(p.dq, p.half, head * p.head_dim, ldq, u.first, end, dq, p.scale, p.scale, p.head_dim);
}

template <int D, bool Capped> DEV void backward_kv(const arguments& p) {
  constexpr int Bn = queries_tile<D, Capped>;
  constexpr u32 stage_bytes = 2 * tile_bytes<Bn, D> + 8 * Bn;  // q, do, lse and delta of a tile of queries
  const u32 ks = shared_address(memory), vs = ks + tile_bytes<block_rows, D>, ring = vs + tile_bytes<block_rows, D>;
  const unit u = unit_of(p);
  const int group = p.heads / p.kv_heads, end = min(u.hi, u.first + block_rows);
  const int row = threadIdx.x / 32 * 16;
  const i64 ldq = (i64)p.heads * p.head_dim, ldk = (i64)p.kv_heads * p.head_dim;
  const int last = p.window > 0 ? min(u.hi, end - 1 + p.window) : u.hi;  // queries that see a key of the block
  const int tiles = (last - u.first + Bn - 1) / Bn, steps = tiles * group;
  // Step n is tile n % tiles of head n / tiles of the group.
  auto fetch = [&](int n, u32 to) {
    if (n < steps) {
      const int head = blockIdx.y * group + n / tiles, q0 = u.first + n % tiles * Bn;
      load_rows<Bn, D>(to, p.q + head * p.head_dim, ldq, q0, u.hi, p.head_dim);
      load_rows<Bn, D>(to + tile_bytes<Bn, D>, p.d_o + head * p.head_dim, ldq, q0, u.hi, p.head_dim);
      if (threadIdx.x < 2 * Bn) {
        const int t = q0 + threadIdx.x % Bn;
        cp_async_4(to + 2 * tile_bytes<Bn, D> + 4 * threadIdx.x, (threadIdx.x < Bn ? p.lse : p.delta) + (i64)head * p.tokens + t, t < u.hi);
      }
    }
    cp_async_commit();
  };

  load_rows<block_rows, D>(ks, p.k + blockIdx.y * p.head_dim, ldk, u.first, u.hi, p.head_dim);
  load_rows<block_rows, D>(vs, p.v + blockIdx.y * p.head_dim, ldk, u.first, u.hi, p.head_dim);
  fetch(0, ring);
  float dk[D / 8][4], dv[D / 8][4];
  zero(dk);
  zero(dv);
  for (int n = 0; n < steps; n++) {
    const u32 qs = ring + n % 2 * stage_bytes, gs = qs + tile_bytes<Bn, D>;
    const float* terms = (const float*)(memory + (gs + tile_bytes<Bn, D> - shared_address(memory)));
    const int q0 = u.first + n % tiles * Bn;
    cp_async_wait<0>();
    __syncthreads();
    fetch(n + 1, ring + (n + 1) % 2 * stage_bytes);
    float s[Bn / 8][4], ds[Bn / 8][4];
    scores<D>(s, ks, row, qs);
    scores<D>(ds, vs, row, gs);
#pragma unroll
    for (int j = 0; j < Bn / 8; j++) {
      const float2 lse = *(const float2*)(terms + column(j, 0)), delta = *(const float2*)(terms + Bn + column(j, 0));
#pragma unroll
      for (int l = 0; l < 4; l++) {
        const int t = q0 + column(j, l);
        const bool there = (t < u.hi) & sees(t, u.first + token_row(l / 2), p.window);
        gradient<Capped>(s[j][l], ds[j][l], lse[l % 2] * log2e, delta[l % 2], there, (t > u.lo) & (p.window != 1), p);
      }
    }
    add_products<D>(dv, s, gs);
    add_products<D>(dk, ds, qs);
  }
  store_rows<D>(p.dk, p.half, blockIdx.y * p.head_dim, ldk, u.first, end, dk, p.scale, p.scale, p.head_dim);
  store_rows<D>(p.dv, p.half, blockIdx.y * p.head_dim, ldk, u.first, end, dv, 1.f, 1.f, p.head_dim);
}
