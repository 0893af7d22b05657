// Groups of sums of products of bf16 matrices, C = alpha (op(A0) op(B0) + op(A1) op(B1) + …) + bias,
// in one launch, for Hopper: bf16 through TMA and wgmma. group.go says what is computed. C is
// bf16, or float32 and perhaps added to. Rows of all factors begin on 16 bytes.
//
// A block works as in bf16.sm90a.cu, on tiles of 128 x Bn of all sums, which are numbered
// in a row: one warp fetches slices of 64 steps, pair by pair, into a ring in shared
// memory, also those of the tile to come; two warpgroups multiply 64 rows each and store.
//
// Order of a sum: pair by pair, steps of 16, ascending; within a step the tensor core's. A
// row has the same bits alone or in a batch, in any group and with either tile.
//
// Floor: the FLOP of all products at the tensor cores' rate. Not measured on a GPU.
// v1  as bf16.sm90a.cu; C in bf16 is stored in full sectors
#include "../dev/hopper.cuh"
#include "group.cuh"

struct factors { tensor_map a, b; };

struct group {
  factors pairs[max_pairs];
  sum_of sums[max_sums];
  int slices[max_pairs];
  int count;       // of sums
  int padding[3];  // to a multiple of 64 bytes, as the parameter is aligned
};

enum { NN, NT, TN };
constexpr int tile_m = 128, slice = 64, group_m = 16;
constexpr u32 box = 64 * 128;  // 64 rows of 64 elements

extern __shared__ __align__(1024) u8 memory[];

// ring is where a thread stands in the ring: each stage has a barrier that its copies fill
// and one by which the consumers' warps give it back.
template <int Bn> struct ring {
  static constexpr int stages = Bn == 256 ? 4 : 6;
  static constexpr u32 bytes_a = 2 * box, bytes = bytes_a + Bn / 64 * box;
  int stage = 0;
  u32 parity = 0;

  DEV_METHOD static u32 barriers() { return shared_address(memory) + stages * bytes; }
  DEV_METHOD u32 full() { return barriers() + 16 * stage; }
  DEV_METHOD u32 empty() { return full() + 8; }
  DEV_METHOD u32 a() { return shared_address(memory) + bytes * stage; }
  DEV_METHOD u32 b() { return a() + bytes_a; }
  DEV_METHOD void next() {
    if (++stage == stages) stage = 0, parity ^= 1;
  }
};

// place_of is the first row and column of tile id of a sum: columns of group_m tiles, group by group.
template <int Bn> DEV void place_of(const sum_of& p, int id, int& i, int& j) {
  const int rows = (p.m + tile_m - 1) / tile_m, columns = (p.n + Bn - 1) / Bn;
  const int first = id / (group_m * columns) * group_m, high = min(group_m, rows - first), rest = id - first * columns;
  i = (first + rest % high) * tile_m, j = rest / high * Bn;
}

template <int Tr, int Bn> DEV void fetch(const group& g) {
  ring<Bn> at;
  const int all = g.sums[g.count - 1].tiles;
#pragma unroll 1
  for (int id = blockIdx.x; id < all; id += gridDim.x) {
    int own = id, i, j;
    const sum_of p = g.sums[sum_at(g.sums, own)];
    place_of<Bn>(p, own, i, j);
#pragma unroll 1
    for (int pair = p.from; pair < p.to; pair++) {
      const tensor_map *a = &g.pairs[pair].a, *b = &g.pairs[pair].b;
      const int end = slice * g.slices[pair];
#pragma unroll 1
      for (int k = 0; k < end; k += slice, at.next()) {
        const u32 full = at.full();
        mbarrier_wait(at.empty(), at.parity ^ 1);
        mbarrier_expect(full, at.bytes);
        if (Tr != TN) {
          tma_load(at.a(), a, k, i, full);
        } else {
#pragma unroll
          for (int h = 0; h < 2; h++) tma_load(at.a() + h * box, a, i + 64 * h, k, full);
        }
        if (Tr == NT) {
          tma_load(at.b(), b, k, j, full);
        } else {
#pragma unroll
          for (int h = 0; h < Bn / 64; h++) tma_load(at.b() + h * box, b, j + 64 * h, k, full);
        }
      }
    }
  }
}

// store hands a thread's sums of 64 rows from i on over to C: float32 in pairs, old values
// eight at a time, unless C's rows are at odd places.
template <int Bn> DEV void store(const sum_of& p, int i, int j, const float (&d)[Bn / 2]) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, t = lane % 4 * 2;
  const bool pairs = p.n % 2 == 0 && p.ldc % 2 == 0 && ((u64)p.c & 7) == 0;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int row = i + 16 * warp + lane / 4 + 8 * h;
    const bool there = row < p.m;
    if (p.half) {
      u16* c = (u16*)p.c + (i64)row * p.ldc + j;
#pragma unroll
      for (int q = 0; q < Bn / 8; q += 2) {
        if (j + 8 * q >= p.n) break;  // all lanes
        float v[4];
#pragma unroll
        for (int l = 0; l < 4; l++) {
          const int column = 8 * (q + l / 2) + t + l % 2;
          v[l] = p.alpha * d[4 * (q + l / 2) + 2 * h + l % 2];
          if (p.bias && j + column < p.n) v[l] += p.bias[j + column];
        }
        store16_bf16(c + 8 * q, p.n - j - 8 * q, there, v[0], v[1], v[2], v[3]);
      }
      continue;
    }
    if (!there) continue;
    float* c = (float*)p.c + (i64)row * p.ldc + j + t;
    const int room = p.n - j - t;
#pragma unroll
    for (int q0 = 0; q0 < Bn / 8; q0 += 8) {
      float2 old[8] = {};
#pragma unroll
      for (int q = 0; q < 8; q++) {
        const int at = 8 * (q0 + q);
        if (p.add && pairs && at < room) old[q] = *(float2*)(c + at);
      }
#pragma unroll
      for (int q = 0; q < 8; q++) {
        const int at = 8 * (q0 + q);
        const float* s = d + 4 * (q0 + q) + 2 * h;
        float2 v = {fma(p.alpha, s[0], old[q].x), fma(p.alpha, s[1], old[q].y)};
        if (p.bias && at < room) v.x += p.bias[j + t + at];
        if (p.bias && at + 1 < room) v.y += p.bias[j + t + at + 1];
        if (pairs) {
          if (at < room) *(float2*)(c + at) = v;
          continue;
        }
        if (at < room) c[at] = v.x + (p.add ? c[at] : 0.f);
        if (at + 1 < room) c[at + 1] = v.y + (p.add ? c[at + 1] : 0.f);
      }
    }
  }
}

// consume multiplies rows 64 half … of each of the block's tiles.
template <int Tr, int Bn> DEV void consume(const group& g, int half) {
  ring<Bn> at;
  const int all = g.sums[g.count - 1].tiles;
#pragma unroll 1
  for (int id = blockIdx.x; id < all; id += gridDim.x) {
    int own = id, slices = 0;
    const int sum = sum_at(g.sums, own);
#pragma unroll 1
    for (int pair = g.sums[sum].from; pair < g.sums[sum].to; pair++) slices += g.slices[pair];
    float d[Bn / 2];
#pragma unroll
    for (int i = 0; i < Bn / 2; i++) d[i] = 0;
    pin(d);
    u32 used = 0;  // the stage whose products are under way
#pragma unroll 1
    for (int s = 0; s < slices; s++, at.next()) {
      mbarrier_wait(at.full(), at.parity);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < slice / 16; k++) {
        const u64 a = Tr == TN ? mn_major(at.a() + half * box + 2048 * k, box) : k_major(at.a() + half * box + 32 * k);
        const u64 b = Tr == NT ? k_major(at.b() + 32 * k) : mn_major(at.b() + 2048 * k, box);
        wgmma<Tr == TN, Tr != NT>(d, a, b, true);
      }
      wgmma_commit();
      wgmma_wait<1>();
      if (s > 0 && threadIdx.x % 32 == 0) mbarrier_arrive(used);
      used = at.empty();
    }
    wgmma_wait<0>();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(used);
    pin(d);
    const sum_of p = g.sums[sum];
    int i, j;
    place_of<Bn>(p, own, i, j);
    store<Bn>(p, i + half * 64, j, d);
  }
}

template <int Tr, int Bn> DEV void multiply(const group& g) {
  using stages = ring<Bn>;
  if (threadIdx.x == 0) {
    for (int s = 0; s < stages::stages; s++) {
      mbarrier_init(stages::barriers() + 16 * s, 1);
      mbarrier_init(stages::barriers() + 16 * s + 8, 8);  // warps that consume
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  const int warpgroup = threadIdx.x / 128;
  if (warpgroup == 0) {
    fewer_registers<40>();
    if (threadIdx.x < 32 && elect_one()) fetch<Tr, Bn>(g);
  } else {
    more_registers<232>();
    consume<Tr, Bn>(g, warpgroup - 1);
  }
}

#define GROUP(name, Tr, Bn) \
  KERNEL __launch_bounds__(384, 1) name(const __grid_constant__ group g) { multiply<Tr, Bn>(g); }
GROUP(gemm_group_nn_256, NN, 256)
GROUP(gemm_group_nt_256, NT, 256)
GROUP(gemm_group_tn_256, TN, 256)
GROUP(gemm_group_nn_128, NN, 128)
GROUP(gemm_group_nt_128, NT, 128)
GROUP(gemm_group_tn_128, TN, 128)
