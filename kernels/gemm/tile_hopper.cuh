// tile_hopper.cuh: the parts of a bf16 product by wgmma, as bf16.sm90a.cu describes it, up to
// a tile's sums. Every kernel that multiplies so includes it: those of one product with
// product_hopper.cuh, groups with what they say about theirs.
#pragma once
#include "../dev/hopper.cuh"
#include "../dev/math.cuh"

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
  DEV_METHOD void release(u32 empty) { mbarrier_arrive(empty); }
  DEV_METHOD static u32 barriers() { return shared_address(memory) + stages * bytes; }
  DEV_METHOD u32 full() { return barriers() + 16 * stage; }
  DEV_METHOD u32 empty() { return full() + 8; }
  DEV_METHOD u32 a() { return shared_address(memory) + bytes * stage; }
  DEV_METHOD u32 b() { return a() + bytes_a; }
  DEV_METHOD void next() {
    if (++stage == stages) stage = 0, parity ^= 1;
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

// load copies step k of columns or rows i of A and j of B to a stage of the ring, by TMA.
template <int Tr, int Bn> DEV void load(ring<Bn> at, const tensor_map* a, const tensor_map* b, int k, int i, int j) {
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

// products sums the products of that many slices, which come through the ring, for rows 64
// half … of the tile.
template <int Tr, int Bn, class Ring> DEV void products(float (&d)[Bn / 2], Ring& at, int slices, int half) {
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
    if (s > 0 && threadIdx.x % 32 == 0) at.release(used);
    used = at.empty();
  }
  wgmma_wait<0>();
  if (threadIdx.x % 32 == 0) at.release(used);
  pin(d);
}
