// forward_hopper.cuh: causal attention forward on bf16 for sm_90a: bf16.go says what is
// computed, tile_hopper.cuh how a block works. 128 queries a block, 64 a warpgroup, tiles
// of 128 keys that start at the segment's first token: a segment's bits depend on that
// segment alone.
//
// The scores of tile n and the product of tile n-1 with its values are in flight
// together, and the softmax of one warpgroup runs while the other's products do
// (take_turn). Only tiles that hold a key some row does not see are masked.
//
// Floor: 2 T^2 D FLOP a head (causal) at the tensor cores' rate. Not measured on a GPU.
// v1  Heads of 64, 128: 168 registers at launch, 240 a consumer, 80, 160 KiB, no spills, 1
//     block a multiprocessor; 12, 16 wgmma in a loop of 673, 711 instructions; minimal
//     bytes, no bank conflicts (interpreter)
#pragma once
#include "tile_hopper.cuh"

constexpr int keys = 128, stages = 2;

template <int D> struct forward_memory {
  u32 q, k, v, bar_q;
  ring<stages> ks, vs;
  DEV_METHOD forward_memory() {
    q = shared_address(memory);
    k = q + tile_bytes<block_rows, D>;
    v = k + stages * tile_bytes<keys, D>;
    ks.bars = v + stages * tile_bytes<keys, D>;
    vs.bars = ks.bars + 16 * stages;
    bar_q = vs.bars + 16 * stages;
  }
  DEV_METHOD u32 keys_at(int n) const { return k + n % stages * tile_bytes<keys, D>; }
  DEV_METHOD u32 values_at(int n) const { return v + n % stages * tile_bytes<keys, D>; }
};

// The keys a block meets: `tiles` of them from token `begin` on.
struct span { int begin, tiles; };

DEV span keys_of(const unit& u, int window) {
  int begin = u.lo;
  if (window > 0) begin += max(0, u.first - window + 1 - u.lo) / keys * keys;
  return {begin, (min(u.hi, u.first + block_rows) - begin + keys - 1) / keys};
}

// Warpgroups take turns at issuing products: number 0 starts.
DEV void take_turn(int group) { named_sync(1 + group, consumers); }
DEV void give_turn(int group) { named_arrive(1 + (group ^ 1), consumers); }

// soften turns a tile of scores into exp(s - max), moves the rows' maxima and sums of
// this thread's columns on, and says by how much the sums so far shrink.
DEV void soften(float (&s)[keys / 2], float (&top)[2], float (&sum)[2], float (&shrink)[2], float c) {
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float now = top[h];
#pragma unroll
    for (int j = 0; j < keys / 8; j++) now = fmax(now, fmax(s[4 * j + 2 * h], s[4 * j + 2 * h + 1]));
    now = group_max<4>(now);
    const float base = now == -infinity ? 0.f : now * c;  // no key seen yet
    shrink[h] = exp2_approx(fma(top[h], c, -base));
    top[h] = now;
    float more = 0;
#pragma unroll
    for (int j = 0; j < keys / 8; j++)
#pragma unroll
      for (int l = 2 * h; l < 2 * h + 2; l++) more += s[4 * j + l] = exp2_approx(fma(s[4 * j + l], c, -base));
    sum[h] = fma(sum[h], shrink[h], more);
  }
}

// mask hides keys k0 … k0+127 from the rows, from token `first` on, that do not see them.
DEV void mask(float (&s)[keys / 2], int first, int k0, int window) {
  if (k0 + keys - 1 <= first && (window == 0 || first + 63 - k0 < window)) return;
  const range seen[2] = {keys_seen(first + row_of(0), k0, window), keys_seen(first + row_of(2), k0, window)};
#pragma unroll
  for (int i = 0; i < keys / 2; i++) s[i] = seen[i / 2 % 2].has(column_of(i)) ? s[i] : -infinity;
}

template <int D> DEV void forward_produce(const forward_memory<D>& m, const tensor_map* q, const tensor_map* k, const tensor_map* v, const unit& u, const span& s, const arguments& p) {
  const int kv_head = u.head / (p.heads / p.kv_heads);
  mbarrier_expect(m.bar_q, tile_bytes<block_rows, D>);
  load_tile<block_rows, D>(m.q, q, u.head, u.first, m.bar_q);
  for (int n = 0; n < s.tiles; n++) {
    m.ks.acquire(n, tile_bytes<keys, D>);
    load_tile<keys, D>(m.keys_at(n), k, kv_head, s.begin + n * keys, m.ks.full(n));
    m.vs.acquire(n, tile_bytes<keys, D>);
    load_tile<keys, D>(m.values_at(n), v, kv_head, s.begin + n * keys, m.vs.full(n));
  }
}

template <int D> DEV void forward_consume(const forward_memory<D>& m, int group, const unit& u, const span& t, const arguments& p) {
  const int first = u.first + 64 * group;  // the warpgroup's first row
  const bool turns = u.active() == consumers;
  const float c = p.scale * log2e;
  float top[2] = {-infinity, -infinity}, sum[2] = {0, 0}, shrink[2], o[D / 2], s[keys / 2];
  u32 held[keys / 16][4];
  zero(o);
  zero(s);
  mbarrier_wait(m.bar_q, 0);
  m.ks.wait(0);
  pin(s);
  wgmma_fence();
  scores<D, block_rows, keys>(s, m.q, 64 * group, m.keys_at(0));
  wgmma_commit();
  wgmma_wait<0>();
  pin(s);
  m.ks.release(0);
  mask(s, first, t.begin, p.window);
  soften(s, top, sum, shrink, c);
  pack(held, s);
  if (group == 1 && t.tiles > 1) give_turn(group);
  for (int n = 1; n < t.tiles; n++) {
    m.ks.wait(n);
    if (turns) take_turn(group);
    pin(s);
    pin(o);
    pin(held);
    wgmma_fence();
    scores<D, block_rows, keys>(s, m.q, 64 * group, m.keys_at(n));
    wgmma_commit();
    m.vs.wait(n - 1);
    wgmma_fence();  // the wait parts it from the first
    add_products<keys>(o, held, m.values_at(n - 1));
    wgmma_commit();
    if (turns && (group == 0 || n + 1 < t.tiles)) give_turn(group);
    wgmma_wait<1>();
    pin(s);
    m.ks.release(n);
    mask(s, first, t.begin + n * keys, p.window);
    soften(s, top, sum, shrink, c);
    wgmma_wait<0>();
    pin(o);
    m.vs.release(n - 1);
#pragma unroll
    for (int i = 0; i < D / 2; i++) o[i] *= shrink[i / 2 % 2];
    pack(held, s);
  }
  const int last = t.tiles - 1, there = u.hi - (t.begin + last * keys);
  m.vs.wait(last);
  if (there < keys) {
    erase<keys, D>(m.values_at(last), there, u.active());
    fence_proxy_async();
    named_sync(3, u.active());
  }
  pin(o);
  pin(held);
  wgmma_fence();
  add_products<keys>(o, held, m.values_at(last));
  wgmma_commit();
  wgmma_wait<0>();
  pin(o);

  float inverse[2];
#pragma unroll
  for (int h = 0; h < 2; h++) {
    sum[h] = group_sum<4>(sum[h]);
    inverse[h] = 1.f / sum[h];
    const int i = first + row_of(2 * h);
    if (i < u.hi && threadIdx.x % 4 == 0) p.out_lse[(i64)u.head * p.tokens + i] = fma(top[h], p.scale, log(sum[h]));
  }
  store_rows<D>(p.out, p.half, u.head * D, (i64)p.heads * D, first, u.hi, o, inverse);
}

template <int D> DEV void forward(const tensor_map* q, const tensor_map* k, const tensor_map* v, const arguments& p) {
  const forward_memory<D> m;
  const unit u = unit_of(p, p.heads);
  const span s = keys_of(u, p.window);
  if (threadIdx.x == 0) {
    mbarrier_init(m.bar_q, 1);
    m.ks.init(u.active());
    m.vs.init(u.active());
    fence_mbarrier_init();
  }
  __syncthreads();
  const int group = shfl_idx(threadIdx.x / 128, 0);  // the same in all lanes, as ptxas can see
  if (group == 0) {
    fewer_registers<24>();
    if (threadIdx.x / 32 == 0 && elect_one()) forward_produce<D>(m, q, k, v, u, s, p);
  } else if (group == 1 || u.active() == consumers) {
    more_registers<240>();
    forward_consume<D>(m, group - 1, u, s, p);
  }
}
