// backward_hopper.cuh: causal attention backward on bf16 for sm_90a: bf16.go says what is
// computed, tile_hopper.cuh how a block works. Scores are formed again from q, k and lse;
// p and ds are rounded to bf16 on their way into the next product. No atomics: one
// kernel sums dq over the keys, another dk and dv over the queries of all heads that
// share them, in a fixed order, so that a segment's bits depend on that segment alone.
//
// What belongs to a query, its lse and do . o, is brought by TMA too. So that it begins
// on 16 bytes whatever token a segment begins at, hopper_terms lays it out by blocks:
// [heads][blocks of 128 rows][2 halves][lse in binary logarithms, do . o][64], zeros
// beyond the segment.
//
// dq: the last product of a tile is in flight with the first two of the next. dk and dv
// leave no registers for that: one warpgroup's products run while the other makes p and ds.
//
// Floor: 7 products instead of the 5 that atomics would need: 7 T^2 D FLOP a head
// (causal) at the tensor cores' rate. Not measured on a GPU.
// v1  Tiles of 64, for dq of heads of 64 of 96. Heads of 64, 128: 168 registers at launch,
//     240 a consumer, no spills, 1 block a multiprocessor; dq 106, 162 KiB, 14, 20 wgmma in
//     a loop of 555, 488 instructions; dk and dv 82, 162 KiB, 16, 24 in 842, 908; minimal
//     bytes, no bank conflicts (interpreter). dk and dv with a product in flight over the
//     next tile's, as dq has it, spill at 128; so does dq with tiles of 128 at 64
#pragma once
#include "tile_hopper.cuh"

// terms_of is where half a block's terms lie.
DEV float* terms_of(const arguments& p, int head, int place, int half) { return p.terms + ((i64)head * p.blocks + place) * 256 + half * 128; }

// pair_at is an element of o, float32 or bf16, and its right neighbour.
DEV float2 pair_at(const float* o) { return *(const float2*)o; }
DEV float2 pair_at(const u16* o) {
  const u32 x = *(const u32*)o;
  return float2{low_bf16(x), high_bf16(x)};
}

// make_terms: a block of 128 rows and a head a block of 256 threads, a warp 16 rows.
template <int D, class T> DEV void make_terms(const u16* d_o, const T* o, const arguments& p) {
  const unit u = unit_of(p, p.heads);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = u.first + 16 * warp;
  const i64 ld = (i64)p.heads * D;
  d_o += u.head * D, o += u.head * D;
  float mine = 0;
#pragma unroll 4
  for (int r = 0; r < 16; r++) {
    float sum = 0;
    if (first + r < u.hi) {
#pragma unroll
      for (int i = 0; i < D / 64; i++) {
        const u32 g = *(const u32*)(d_o + (first + r) * ld + 64 * i + 2 * lane);
        const float2 x = pair_at(o + (first + r) * ld + 64 * i + 2 * lane);
        sum = fma(high_bf16(g), x.y, fma(low_bf16(g), x.x, sum));
      }
    }
    sum = warp_sum(sum);
    if (lane == 16 + r) mine = sum;
  }
  if (lane < 16 && first + lane < u.hi) mine = p.lse[(i64)u.head * p.tokens + first + lane] * log2e;
  terms_of(p, u.head, u.place, warp / 4)[lane / 16 * 64 + warp % 4 * 16 + lane % 16] = mine;
}

// Shared memory: two tiles of the block's own rows, and a ring of pairs of tiles of the
// other side, with their terms if they are queries.
template <int D, int Bn, int Stages> struct backward_memory {
  static constexpr u32 own = tile_bytes<block_rows, D>, other = tile_bytes<Bn, D>, terms = Bn * 8;
  u32 base;
  ring<Stages> slots;
  DEV_METHOD backward_memory() {
    base = shared_address(memory);
    slots.bars = bar_own() + 8;
  }
  DEV_METHOD u32 own_at(int i) const { return base + i * own; }
  DEV_METHOD u32 other_at(int n, int i) const { return base + 2 * own + (n % Stages * 2 + i) * other; }
  DEV_METHOD u32 terms_at(int n) const { return base + 2 * own + Stages * 2 * other + n % Stages * terms; }
  DEV_METHOD u32 bar_own() const { return base + 2 * own + Stages * (2 * other + terms); }
  DEV_METHOD void init(int active) const {
    mbarrier_init(bar_own(), 1);
    slots.init(active);
    fence_mbarrier_init();
  }
};

// Both of the block's own tiles.
template <int D, class Memory> DEV void load_own(const Memory& m, const tensor_map* a, const tensor_map* b, int head, int first) {
  mbarrier_expect(m.bar_own(), 2 * Memory::own);
  load_tile<block_rows, D>(m.own_at(0), a, head, first, m.bar_own());
  load_tile<block_rows, D>(m.own_at(1), b, head, first, m.bar_own());
}

// erase_strangers zeroes what rows from `there` on of two tiles hold, by the threads that
// use them.
template <int Bn, int D> DEV void erase_strangers(u32 a, u32 b, int there, int users) {
  if (there >= Bn) return;
  erase<Bn, D>(a, there, users);
  erase<Bn, D>(b, there, users);
  fence_proxy_async();
  named_sync(3, users);
}

// first_products issues s = rows of the block's first tile . a and ds = those of its
// second . b, a group each.
template <int D, int Bn, class Memory> DEV void first_products(float (&s)[Bn / 2], float (&ds)[Bn / 2], const Memory& m, int group, int n) {
  scores<D, block_rows, Bn>(s, m.own_at(0), 64 * group, m.other_at(n, 0));
  wgmma_commit();
  scores<D, block_rows, Bn>(ds, m.own_at(1), 64 * group, m.other_at(n, 1));
  wgmma_commit();
}

// queries_part is a warpgroup's part of the sum over the keys.
template <int D, int Bn, class Memory> struct queries_part {
  const Memory& m;
  const unit& u;
  const arguments& p;
  const int group, first;
  float lse[2], delta[2], s[Bn / 2], ds[Bn / 2], dq[D / 2];
  u32 held[Bn / 16][4];  // ds of the tile whose product is still to come

  DEV_METHOD queries_part(const Memory& m, const unit& u, const arguments& p, int group) : m(m), u(u), p(p), group(group), first(u.first + 64 * group) {
    const float* terms = terms_of(p, u.head, u.place, group);
#pragma unroll
    for (int h = 0; h < 2; h++) lse[h] = terms[row_of(2 * h)], delta[h] = terms[64 + row_of(2 * h)];
    zero(s);
    zero(ds);
    zero(dq);
  }
  DEV_METHOD void fence() {
    pin(s);
    pin(ds);
    pin(dq);
    pin(held);
    wgmma_fence();
  }
  DEV_METHOD void last_product(int n) {
    add_products<Bn>(dq, held, m.other_at(n, 0));
    wgmma_commit();
  }
  // softmax makes p of the first product, gradient ds of the second.
  DEV_METHOD void softmax() {
    pin(s);
#pragma unroll
    for (int i = 0; i < Bn / 2; i++) s[i] = exp2_approx(fma(s[i], p.scale * log2e, -lse[i / 2 % 2]));
  }
  DEV_METHOD void gradient(int k0) {
    pin(ds);
#pragma unroll
    for (int i = 0; i < Bn / 2; i++) ds[i] = s[i] * (ds[i] - delta[i / 2 % 2]);
    if (k0 + Bn - 1 <= first && (p.window == 0 || first + 63 - k0 < p.window)) return;
    range seen[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int t = first + row_of(2 * h);
      seen[h] = keys_seen(t, k0, p.window);
      if ((t == u.lo) | (p.window == 1)) seen[h].count = 0;  // one key: no gradient
    }
#pragma unroll
    for (int i = 0; i < Bn / 2; i++) ds[i] = seen[i / 2 % 2].has(column_of(i)) ? ds[i] : 0.f;
  }
  // Keys of the second half of the block are seen by its second half of rows alone.
  DEV_METHOD void wait(int n, int k0) {
    m.slots.wait(n);
    erase_strangers<Bn, D>(m.other_at(n, 0), m.other_at(n, 1), u.hi - k0, k0 < u.first + 64 ? u.active() : 128);
  }
  DEV_METHOD void run(int begin) {
    const int tiles = (min(u.hi, first + 64) - begin + Bn - 1) / Bn;
    mbarrier_wait(m.bar_own(), 0);
    wait(0, begin);
    fence();
    first_products<D, Bn>(s, ds, m, group, 0);
    wgmma_wait<1>();
    softmax();
    wgmma_wait<0>();
    gradient(begin);
    pack(held, ds);
    for (int n = 1; n < tiles; n++) {
      wait(n, begin + n * Bn);
      fence();
      first_products<D, Bn>(s, ds, m, group, n);
      last_product(n - 1);
      wgmma_wait<2>();
      softmax();
      wgmma_wait<1>();
      gradient(begin + n * Bn);
      wgmma_wait<0>();
      pin(dq);
      m.slots.release(n - 1);
      pack(held, ds);
    }
    fence();
    last_product(tiles - 1);
    wgmma_wait<0>();
    pin(dq);
    const float scale[2] = {p.scale, p.scale};
    store_rows<D>(p.dq, p.half, u.head * D, (i64)p.heads * D, first, u.hi, dq, scale);
  }
};

template <int D, int Bn, int Stages> DEV void backward_q(const tensor_map* q, const tensor_map* d_o, const tensor_map* k, const tensor_map* v, const arguments& p) {
  const backward_memory<D, Bn, Stages> m;
  const unit u = unit_of(p, p.heads);
  const int end = min(u.hi, u.first + block_rows);
  int begin = u.lo;
  if (p.window > 0) begin += max(0, u.first - p.window + 1 - u.lo) / Bn * Bn;
  if (threadIdx.x == 0) m.init(u.active());
  __syncthreads();
  const int group = shfl_idx(threadIdx.x / 128, 0);  // the same in all lanes, as ptxas can see
  if (group > 0) {
    if (group == 2 && u.active() != consumers) return;
    more_registers<240>();
    queries_part<D, Bn, backward_memory<D, Bn, Stages>>(m, u, p, group - 1).run(begin);
    return;
  }
  fewer_registers<24>();
  if (threadIdx.x / 32 > 0 || !elect_one()) return;
  load_own<D>(m, q, d_o, u.head, u.first);
  const int kv_head = u.head / (p.heads / p.kv_heads);
  int n = 0;
#pragma unroll 1
  for (int k0 = begin; k0 < end; k0 += Bn, n++) {
    m.slots.acquire(n, 2 * m.other);
    load_tile<Bn, D>(m.other_at(n, 0), k, kv_head, k0, m.slots.full(n));
    load_tile<Bn, D>(m.other_at(n, 1), v, kv_head, k0, m.slots.full(n));
  }
}

// keys_part is a warpgroup's part of the sums over the queries up to `last`, for each head
// of the group.
template <int D, int Bn, class Memory> struct keys_part {
  const Memory& m;
  const unit& u;
  const arguments& p;
  const int group, first, last;
  float s[Bn / 2], ds[Bn / 2], dk[D / 2], dv[D / 2];

  DEV_METHOD keys_part(const Memory& m, const unit& u, const arguments& p, int group, int last)
      : m(m), u(u), p(p), group(group), first(u.first + 64 * group), last(last) {
    zero(s);
    zero(ds);
    zero(dk);
    zero(dv);
  }
  // The two terms of the tile's columns 8j + 2t and its neighbour: lse, or do . o.
  DEV_METHOD float2 terms(int n, int which, int j) const {
    return *(const float2*)(memory + (m.terms_at(n) - m.base) + 4 * (64 * which + j / 8 * 128 + column_of(4 * j) % 64));
  }
  DEV_METHOD bool whole(int q0) const { return q0 >= first + 63 && q0 + Bn <= u.hi && (p.window == 0 || q0 + Bn - 1 - first < p.window); }
  DEV_METHOD void softmax(int n, int q0) {
    pin(s);
#pragma unroll
    for (int j = 0; j < Bn / 8; j++) {
      const float2 lse = terms(n, 0, j);
#pragma unroll
      for (int l = 0; l < 4; l++) s[4 * j + l] = exp2_approx(fma(s[4 * j + l], p.scale * log2e, -lse[l % 2]));
    }
    if (whole(q0)) return;
    const range seeing[2] = {queries_seeing(first + row_of(0), q0, u.hi, p.window), queries_seeing(first + row_of(2), q0, u.hi, p.window)};
#pragma unroll
    for (int i = 0; i < Bn / 2; i++) s[i] = seeing[i / 2 % 2].has(column_of(i)) ? s[i] : 0.f;
  }
  DEV_METHOD void gradient(int n, int q0) {
    pin(ds);
#pragma unroll
    for (int j = 0; j < Bn / 8; j++) {
      const float2 delta = terms(n, 1, j);
#pragma unroll
      for (int l = 0; l < 4; l++) ds[4 * j + l] = s[4 * j + l] * (ds[4 * j + l] - delta[l % 2]);
    }
    if (whole(q0)) return;
    // s is 0 where the key is not seen. The segment's first query sees one key: no gradient.
    const range free = range_of(u.lo + 1 - q0, p.window == 1 ? u.lo + 1 - q0 : Bn);
#pragma unroll
    for (int i = 0; i < Bn / 2; i++) ds[i] = ((s[i] != 0) & free.has(column_of(i))) ? ds[i] : 0.f;
  }
  DEV_METHOD void last_products(int n) {
    u32 left_p[Bn / 16][4], left_ds[Bn / 16][4];
    pack(left_p, s);
    pack(left_ds, ds);
    pin(dv);
    pin(dk);
    pin(left_p);
    pin(left_ds);
    wgmma_fence();
    add_products<Bn>(dv, left_p, m.other_at(n, 1));
    add_products<Bn>(dk, left_ds, m.other_at(n, 0));
    wgmma_commit();
    wgmma_wait<0>();
    pin(dv);
    pin(dk);
  }
  DEV_METHOD void add_tile(int n, int q0) {
    pin(s);
    pin(ds);
    wgmma_fence();
    first_products<D, Bn>(s, ds, m, group, n);
    wgmma_wait<1>();
    softmax(n, q0);
    wgmma_wait<0>();
    gradient(n, q0);
    last_products(n);
  }
  DEV_METHOD void run() {
    const int steps = (last - u.first + Bn - 1) / Bn * (p.heads / p.kv_heads);
    mbarrier_wait(m.bar_own(), 0);
    int q0 = u.first;
    for (int n = 0; n < steps; n++) {
      m.slots.wait(n);
      erase_strangers<Bn, D>(m.other_at(n, 0), m.other_at(n, 1), u.hi - q0, u.active());
      if (q0 + Bn > first) add_tile(n, q0);
      m.slots.release(n);
      q0 = q0 + Bn < last ? q0 + Bn : u.first;
    }
    const i64 ld = (i64)p.kv_heads * D;
    const float scale[2] = {p.scale, p.scale}, one[2] = {1.f, 1.f};
    store_rows<D>(p.dk, p.half, u.head * D, ld, first, u.hi, dk, scale);
    store_rows<D>(p.dv, p.half, u.head * D, ld, first, u.hi, dv, one);
  }
};

template <int D, int Bn, int Stages> DEV void backward_kv(const tensor_map* q, const tensor_map* d_o, const tensor_map* k, const tensor_map* v, const arguments& p) {
  const backward_memory<D, Bn, Stages> m;
  const unit u = unit_of(p, p.kv_heads);
  const int heads = p.heads / p.kv_heads, end = min(u.hi, u.first + block_rows);
  const int last = p.window > 0 ? min(u.hi, end - 1 + p.window) : u.hi;  // queries that see a key of the block
  if (threadIdx.x == 0) m.init(u.active());
  __syncthreads();
  const int group = shfl_idx(threadIdx.x / 128, 0);
  if (group > 0) {
    if (group == 2 && u.active() != consumers) return;
    more_registers<240>();
    keys_part<D, Bn, backward_memory<D, Bn, Stages>>(m, u, p, group - 1, last).run();
    return;
  }
  fewer_registers<24>();
  if (threadIdx.x / 32 > 0 || !elect_one()) return;
  load_own<D>(m, k, v, u.head, u.first);
  int n = 0;
  for (int head = u.head * heads; head < (u.head + 1) * heads; head++)
#pragma unroll 1
    for (int q0 = u.first; q0 < last; q0 += Bn, n++) {
      m.slots.acquire(n, 2 * m.other + m.terms);
      load_tile<Bn, D>(m.other_at(n, 0), q, head, q0, m.slots.full(n));
      load_tile<Bn, D>(m.other_at(n, 1), d_o, head, q0, m.slots.full(n));
      bulk_load(m.terms_at(n), terms_of(p, head, u.place, 0) + (q0 - u.first) * 2, m.terms, m.slots.full(n));
    }
}
