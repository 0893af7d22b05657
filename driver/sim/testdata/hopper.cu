// C[64, 64] f32 = A[64, k] B[64, k]^T, bf16: one tile, a producer warp and a warpgroup of
// consumers round a ring of two stages; then C leaves through shared memory by TMA.
// For the tests of driver/sim; rebuild with build.sh.
#define DEVICE static __attribute__((device)) __inline__ __attribute__((always_inline))
typedef unsigned int u32;
typedef unsigned long long u64;
struct __attribute__((aligned(64))) map { u64 v[16]; };
#define MAP const __attribute__((grid_constant)) map

DEVICE u32 tid() { return __nvvm_read_ptx_sreg_tid_x(); }
DEVICE void init(u32 b, u32 n) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(b), "r"(n) : "memory"); }
DEVICE void expect(u32 b, u32 n) { asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(b), "r"(n) : "memory"); }
DEVICE void arrive(u32 b) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(b) : "memory"); }
DEVICE void wait(u32 b, u32 phase) {
  asm volatile("{\n\t.reg .pred p;\n\tAGAIN:\n\tmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n\t@!p bra AGAIN;\n\t}" ::"r"(b), "r"(phase) : "memory");
}
DEVICE void load(u32 dst, const map *m, int x, int y, u32 bar) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(dst), "l"(m), "r"(x), "r"(y), "r"(bar) : "memory");
}
DEVICE u64 descriptor(u32 a) { return (u64)((a & 0x3ffff) >> 4) | (u64)1 << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62; }
DEVICE void product(float (&d)[32], u64 a, u64 b, int keep) {
  asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %34, 0;\n\twgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, p, 1, 1, 0, 0;\n\t}"
    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]),
      "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]),
      "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
    : "l"(a), "l"(b), "r"(keep));
}
extern __attribute__((shared)) __attribute__((aligned(1024))) unsigned char shared_bytes[];

extern "C" __attribute__((global)) void __attribute__((launch_bounds(160, 1))) tile_product(MAP ta, MAP tb, MAP tc, int k) {
  const u32 base = (u32)(u64)(__attribute__((address_space(3))) const void *)shared_bytes, tile = 8192, stage = 2 * tile;
  const u32 out = base + 2 * stage, bars = out + 16384, t = tid();
  if (t == 0) {
    for (u32 s = 0; s < 2; s++) init(bars + 16 * s, 1), init(bars + 16 * s + 8, 4);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  const int steps = k / 64;
  if (t >= 128) {
    if (t == 128)
      for (int i = 0; i < steps; i++) {
        const u32 s = i & 1, full = bars + 16 * s, at = base + s * stage;
        if (i >= 2) wait(full + 8, (i / 2 + 1) & 1);
        expect(full, 2 * tile);
        load(at, &ta, 64 * i, 0, full);
        load(at + tile, &tb, 64 * i, 0, full);
      }
    return;
  }
  float d[32];
#pragma unroll
  for (int i = 0; i < 32; i++) d[i] = 0;
  for (int i = 0; i < steps; i++) {
    const u32 s = i & 1, full = bars + 16 * s, at = base + s * stage;
    wait(full, (i / 2) & 1);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int q = 0; q < 4; q++) product(d, descriptor(at + 32 * q), descriptor(at + tile + 32 * q), i + q);
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    if ((t & 31) == 0) arrive(full + 8);
  }
  const u32 at = out + ((t >> 5) * 16 + (t >> 2 & 7)) * 256 + (t & 3) * 8;
#pragma unroll
  for (int j = 0; j < 8; j++) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(at + 32 * j), "f"(d[4 * j]), "f"(d[4 * j + 1]) : "memory");
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(at + 32 * j + 2048), "f"(d[4 * j + 2]), "f"(d[4 * j + 3]) : "memory");
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  asm volatile("bar.sync 1, 128;" ::: "memory");
  if (t == 0) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&tc), "r"(0), "r"(0), "r"(out) : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
  }
}
