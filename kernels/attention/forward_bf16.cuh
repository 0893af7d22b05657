// forward_bf16.cuh: causal attention forward on bf16, float32 sums: bf16.go says what is
// computed, bf16.cuh how a block works; it owns 128 rows here, a warp 16 of the first 64
// and 16 of the others, which share what is read of keys and values. Online softmax over
// tiles of keys that start at the segment's first token: a segment's bits depend on that
// segment alone.
//
// Keys are copied while the values of the tile before are multiplied, values while the
// scores are formed. Only tiles that hold a key some row does not see are masked.
//
// Floor: 2 T^2 D FLOP a head (causal) at the tensor cores' rate. Not measured on a GPU.
// v1  16 rows a warp, tiles of 64: as many bytes of shared memory as A100's tensor cores
//     take time for
// v2  32 rows a warp. Heads of 32, 64, 128: tiles of 64, 64, 32, 168, 254, 253 registers,
//     16, 32, 48 KiB, no spills, 3, 2, 2 blocks a multiprocessor; no bank conflicts, full
//     sectors, minimal bytes (interpreter)
#pragma once
#include "bf16.cuh"

constexpr int forward_rows = 128;
template <int D> constexpr int forward_tile = D == 128 ? 32 : 64;  // as many as leave room in the registers

// soften turns a tile of scores into exp(s - max), the rows' maxima and sums of this
// thread's columns moved on, the sums so far shrunk.
template <bool Capped, int N, int M> DEV void soften(float (&s)[N][4], float (&top)[2], float (&sum)[2], float (&o)[M][4], const arguments& p) {
  const float c = unit_of_score<Capped>(p) * log2e;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float now = top[h];
#pragma unroll
    for (int j = 0; j < N; j++) now = fmax(now, fmax(s[j][2 * h], s[j][2 * h + 1]));
    now = group_max<4>(now);
    const float base = now == -infinity ? 0.f : now * c;  // no key seen yet
    const float shrink = exp2_approx(fma(top[h], c, -base));
    top[h] = now;
    float more = 0;
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
      for (int l = 2 * h; l < 2 * h + 2; l++) more += s[j][l] = exp2_approx(fma(s[j][l], c, -base));
    sum[h] = fma(sum[h], shrink, more);
#pragma unroll
    for (int j = 0; j < M; j++) o[j][2 * h] *= shrink, o[j][2 * h + 1] *= shrink;
  }
}

// mask hides the keys from k0 on that the rows from token `first` on do not see.
template <int N> DEV void mask(float (&s)[N][4], int first, int k0, int window) {
  if (k0 + 8 * N - 1 <= first && (window == 0 || first + 63 - k0 < window)) return;
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int l = 0; l < 4; l++)
      if (!sees(first + token_row(l / 2), k0 + column(j, l), window)) s[j][l] = -infinity;
}

template <int D, bool Capped> DEV void forward(const arguments& p) {
  constexpr int Bn = forward_tile<D>, R = 2, rows = forward_rows;
  const u32 qs = shared_address(memory), ks = qs + tile_bytes<rows, D>, vs = ks + tile_bytes<Bn, D>;
  const unit u = unit_of(p);
  const int head = blockIdx.y, group = p.heads / p.kv_heads, end = min(u.hi, u.first + rows);
  const i64 ldq = (i64)p.heads * p.head_dim, ldk = (i64)p.kv_heads * p.head_dim;
  const u16* k = p.k + head / group * p.head_dim;
  const u16* v = p.v + head / group * p.head_dim;
  int k0 = u.lo;
  if (p.window > 0) k0 += max(0, u.first - p.window + 1 - u.lo) / Bn * Bn;

  load_rows<rows, D>(qs, p.q + head * p.head_dim, ldq, u.first, u.hi, p.head_dim);
  load_rows<Bn, D>(ks, k, ldk, k0, u.hi, p.head_dim);
  cp_async_commit();
  float top[R][2], sum[R][2], o[R][D / 8][4];
#pragma unroll
  for (int r = 0; r < R; r++) {
    zero(o[r]);
    top[r][0] = top[r][1] = -infinity, sum[r][0] = sum[r][1] = 0;
  }
  for (; k0 < end; k0 += Bn) {
    cp_async_wait<0>();
    __syncthreads();  // keys are there, values no longer needed
    load_rows<Bn, D>(vs, v, ldk, k0, u.hi, p.head_dim);
    cp_async_commit();
    float s[R][Bn / 8][4];
    scores<D>(s, qs, threadIdx.x / 32 * 16, ks);
#pragma unroll
    for (int r = 0; r < R; r++) {
      if (Capped) {
#pragma unroll
        for (int j = 0; j < Bn / 8; j++)
#pragma unroll
          for (int l = 0; l < 4; l++) {
            float slope;
            s[r][j][l] = score<true>(s[r][j][l], p, slope);
          }
      }
      mask(s[r], u.first + 64 * r, k0, p.window);
      soften<Capped>(s[r], top[r], sum[r], o[r], p);
    }
    cp_async_wait<0>();
    __syncthreads();  // values are there, keys no longer needed
    if (k0 + Bn < end) load_rows<Bn, D>(ks, k, ldk, k0 + Bn, u.hi, p.head_dim);
    cp_async_commit();
    add_products<D>(o, s, vs);
  }
#pragma unroll
  for (int r = 0; r < R; r++) {
    const int first = u.first + 64 * r;
    float inverse[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      sum[r][h] = group_sum<4>(sum[r][h]);
      inverse[h] = 1.f / sum[r][h];
      const int t = first + token_row(h);
      if (t < end && threadIdx.x % 4 == 0) p.out_lse[(i64)head * p.tokens + t] = fma(top[r][h], unit_of_score<Capped>(p), log(sum[r][h]));
    }
    // Capped heads of 128 leave no registers for a choice: half.go narrows their o.
    store_rows<D>(p.out, Capped && D == 128 ? 0 : p.half, head * p.head_dim, ldq, first, end, o[r], inverse[0], inverse[1], p.head_dim);
  }
}
