// out' = R' g' by wgmma: signs.cuh has the signs, gradproj.cu writes the planes. A
// warpgroup multiplies Tiles x 64 columns of R with Samples samples. R is operand A, in
// registers, made there from Philox's words; the planes come by TMA through a ring in
// shared memory, 64 rows a stage, swizzled.
//
// One warp produces, two warpgroups consume. A step is 16 rows by 64 columns: while the
// tensor cores multiply one, the next one's signs are expanded into the other of two sets
// of registers. The sums belong to the tensor cores from the first fence to the last wait.
//
// Floor: 2 P dim n FLOP, times the number of planes, at the tensor cores' rate; a step is
// Planes Samples/2 cycles of them, for 8 entries of R a lane. Integer instructions, at 64
// lanes a cycle: 1.9 an entry (TestSignCounters), 30 cycles a step. So 64 samples hide them
// in three planes (96 cycles) and just about in one (32), 128 samples in one (64).
// Not measured on a GPU. ptxas 13.0: 168 registers at launch (232 and 40 after setmaxnreg),
// no spills; 1 block of 384 threads a multiprocessor; 48 wgmma in a loop of 329
// instructions (bf16x3), 16 of 277 (one plane, 64 samples), 8 of 186 (128).
#include "../dev/hopper.cuh"
#include "signs.cuh"

extern __shared__ __align__(1024) u8 memory[];

constexpr int ring = 8;  // stages, a power of two

template <bool F16, int N> DEV void multiply(float (&d)[N], const u32 (&a)[4], u64 b) {
  if constexpr (F16) {
    wgmma_add_f16<0>(d, a, b);
  } else {
    wgmma_add<0>(d, a, b);
  }
}

// store writes a lane's sums, as far as there are samples and columns from its first on.
template <int Samples, int Tiles> DEV void store(float* partial, i64 dim, const float (&acc)[Tiles][Samples / 2], int samples, int columns) {
#pragma unroll
  for (int j = 0; j < Samples / 8; j++) {
#pragma unroll
    for (int l = 0; l < 2; l++)
#pragma unroll
      for (int m = 0; m < Tiles; m++)
#pragma unroll
        for (int h = 0; h < 2; h++)
          if (8 * j + l < samples && 64 * m + 8 * h < columns) partial[l * dim + 64 * m + 8 * h] = acc[m][4 * j + 2 * h + l];
    partial += 8 * dim;
  }
}

// Shared memory: `ring` stages of Planes tiles [Samples][64 rows], then full and empty
// barriers of each.
template <int Samples, int Planes, int Tiles, bool F16> DEV void signs(const tensor_map* planes, const signed_product& p) {
  constexpr u32 tile = Samples * 128, stage = Planes * tile;
  constexpr int calls = 8 * Tiles, ahead = 32 / calls;  // lanes that draw for a stage; stages they draw for at once
  const u32 base = shared_address(memory), full = base + ring * stage, empty = full + 8 * ring;
  const int group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const row_block rows(p);
  if (threadIdx.x == 0) {
    for (int i = 0; i < ring; i++) {
      mbarrier_init(full + 8 * i, 1);
      mbarrier_init(empty + 8 * i, 8);  // the consumers' warps
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  if (group == 0) {
    fewer_registers<40>();
    if (warp == 0 && elect_one()) {
      for (u32 s = 0; s < rows.stages; s++) {
        const u32 slot = s % ring;
        mbarrier_wait(empty + 8 * slot, s / ring % 2 ^ 1);
        mbarrier_expect(full + 8 * slot, stage);
        for (int l = 0; l < Planes; l++) tma_load(base + slot * stage + l * tile, planes, (int)rows.offset + s * stage_rows, blockIdx.z * Samples, l, full + 8 * slot);
      }
    }
    return;
  }
  more_registers<232>();
  const int column = (blockIdx.x * 2 + group - 1) * 64 * Tiles;  // of the warpgroup
  const int pair = 8 * (column / 16 + 4 * (lane / 8 % Tiles) + warp) + lane % 8;

  float acc[Tiles][Samples / 2];
#pragma unroll
  for (int m = 0; m < Tiles; m++) {
#pragma unroll
    for (int i = 0; i < Samples / 2; i++) acc[m][i] = 0;
    pin(acc[m]);
  }
  u32 words[4], a[2][4], from = lane / 4;
  for (u32 s = 0; s < rows.stages; s++) {
    if (ahead == 1 || from < calls) draw(words, p, rows, s + lane / calls, pair);
    mbarrier_wait(full + 8 * (s % ring), s / ring % 2);
    const u64 b = k_major(base + s % ring * stage);
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
      for (int m = 0; m < Tiles; m++) {
        expand(a[(k * Tiles + m) % 2], words[k], from + 8 * m, F16 ? minus_one_f16 : minus_one_bf16);
        wgmma_fence();
#pragma unroll
        for (int l = Planes - 1; l >= 0; l--) multiply<F16>(acc[m], a[(k * Tiles + m) % 2], b + ((l * tile + 32 * k) >> 4));  // the smallest first
        wgmma_commit();
        wgmma_wait<1>();  // the step before has read its registers
        if (k + m == 0 && s > 0 && lane == 0) mbarrier_arrive(empty + 8 * ((s - 1) % ring));
      }
    if (ahead > 1) from = (from + calls) % 32;
  }
  wgmma_wait<0>();
#pragma unroll
  for (int m = 0; m < Tiles; m++) pin(acc[m]);

  const int i0 = blockIdx.z * Samples, c0 = column + warp * 16 + lane / 4;
  float* partial = p.partial + ((i64)rows.number * p.n + i0 + lane % 4 * 2) * p.dim + c0;
  if (i0 + Samples <= p.n && column + 64 * Tiles <= p.dim) {
    store<Samples, Tiles>(partial, p.dim, acc, Samples, 64 * Tiles);
  } else {
    store<Samples, Tiles>(partial, p.dim, acc, p.n - i0 - lane % 4 * 2, p.dim - c0);
  }
}

#define SIGNS(name, Samples, Planes, Tiles, F16) \
  KERNEL __launch_bounds__(384, 1) gradproj_wgmma_##name(const __grid_constant__ tensor_map planes, const __grid_constant__ signed_product p) { signs<Samples, Planes, Tiles, F16>(&planes, p); }
SIGNS(bf16x3_64, 64, 3, 4, false)
SIGNS(bf16_64, 64, 1, 4, false)
SIGNS(bf16_128, 128, 1, 2, false)
SIGNS(f16_64, 64, 1, 4, true)
SIGNS(f16_128, 128, 1, 2, true)
