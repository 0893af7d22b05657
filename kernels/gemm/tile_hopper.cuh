// tile_hopper.cuh: the parts of a bf16 product by wgmma, as bf16.sm90a.cu describes it, that do
// not depend on how B is read; kernels/quant multiplies with them, too.
#pragma once
#include "../dev/hopper.cuh"
#include "../dev/math.cuh"

struct problem {
  float* c;
  int m, n, k, r, ldc;
  float alpha;
  int add;
};

enum { NN, NT, TN };
constexpr int tile_m = 128, slice = 64, group_m = 16;
constexpr u32 box = 64 * 128;  // 64 rows of 64 elements

extern __shared__ __align__(1024) u8 memory[];

// ring is a thread's position in the ring: each stage has a barrier that its copies complete
// and one with which the consumers' warps release it.
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

// tiles numbers the tiles: columns of group_m, group by group.
struct tiles {
  int rows, columns;
  DEV_METHOD int count() { return rows * columns; }
  DEV_METHOD void at(int id, int& i, int& j) {
    const int group = id / (group_m * columns), first = group * group_m, high = min(group_m, rows - first);
    const int rest = id - first * columns;
    j = rest / high, i = first + rest - j * high;
  }
};

// start prepares the ring for producers that arrive that often at a stage, and for the
// consumers' eight warps.
template <int Bn> DEV void start(int producers) {
  using stages = ring<Bn>;
  if (threadIdx.x == 0) {
    for (int s = 0; s < stages::stages; s++) {
      mbarrier_init(stages::barriers() + 16 * s, producers);
      mbarrier_init(stages::barriers() + 16 * s + 8, 8);
    }
    fence_mbarrier_init();
  }
  __syncthreads();
}

// store writes a thread's sums of 64 rows from i on to C: in pairs, old values eight at a
// time, unless C's rows are not aligned to 8 bytes.
template <int Bn> DEV void store(const problem& p, int i, int j, const float (&d)[Bn / 2]) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const bool pairs = p.n % 2 == 0 && p.ldc % 2 == 0 && ((u64)p.c & 7) == 0;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int row = i + 16 * warp + lane / 4 + 8 * h, column = j + lane % 4 * 2, room = p.n - column;
    if (row >= p.m) continue;
    float* c = p.c + (i64)row * p.ldc + column;
    if (pairs) {
#pragma unroll
      for (int q0 = 0; q0 < Bn / 8; q0 += 8) {
        float2 old[8] = {};
        if (p.add) {
#pragma unroll
          for (int q = 0; q < 8; q++)
            if (8 * (q0 + q) < room) old[q] = *(float2*)(c + 8 * (q0 + q));
        }
#pragma unroll
        for (int q = 0; q < 8; q++) {
          const float *s = d + 4 * (q0 + q) + 2 * h;
          if (8 * (q0 + q) < room) *(float2*)(c + 8 * (q0 + q)) = float2{fma(p.alpha, s[0], old[q].x), fma(p.alpha, s[1], old[q].y)};
        }
      }
      continue;
    }
#pragma unroll
    for (int q = 0; q < Bn / 4; q++) {
      const int at = q / 2 * 8 + q % 2;
      if (at < room) c[at] = fma(p.alpha, d[q / 2 * 4 + 2 * h + q % 2], p.add ? c[at] : 0.f);
    }
  }
}

// consume multiplies rows 64 half … of each of the block's tiles.
template <int Tr, int Bn> DEV void consume(const problem& p, tiles all, int half) {
  ring<Bn> at;
  const int slices = (p.k + slice - 1) / slice + (p.r + slice - 1) / slice;
  for (int id = blockIdx.x; id < all.count(); id += gridDim.x) {
    float d[Bn / 2];
#pragma unroll
    for (int i = 0; i < Bn / 2; i++) d[i] = 0;
    pin(d);
    u32 used = 0;  // the stage whose products are under way
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
    int i, j;
    all.at(id, i, j);
    store<Bn>(p, i * tile_m + half * 64, j * Bn, d);
  }
}
