// hopper.cuh: what sm_90a adds: mbarriers, TMA, wgmma, registers moved between warpgroups.
//
// Rules for a kernel that uses it
//   - __launch_bounds__(threads, blocks) with both arguments, or setmaxnreg is ignored;
//     whole warpgroups (128 threads) where setmaxnreg is used.
//   - TMA and mbarrier_expect under `if (elect_one())` of a warp that is converged there;
//     under a branch on the lane ptxas puts a loop round every copy.
//   - tiles of 128-byte swizzle begin on 1024 bytes: extern __shared__ __align__(1024).
//   - wgmma: pin(d), wgmma_fence(), products, wgmma_commit(), wgmma_wait<n>(), pin(d). An
//     accumulator is not touched before its wait. What threads wrote to shared memory is
//     seen by wgmma and TMA after fence_proxy_async() by the writers and a barrier.
//
// Layouts. A tile of bf16 with 128-byte swizzle is a column of rows of 128 bytes (64
// elements), row r at 128 r, its 16-byte chunk c at chunk c ^ (r % 8): what TMA writes for a
// box of 64 elements across (driver.TensorMap, Swizzle 128). Wider tiles are several boxes.
//   K-major: rows are m (or n), the 64 elements are steps of k. k_major(tile) describes it;
//     the next 16 steps are 32 bytes on: k_major(tile + 32). n or m beyond 64 go on below:
//     row 64 is at 8192, as one box of more rows has it.
//   MN-major: rows are steps of k, the 64 elements are m (or n). mn_major(tile, next): `next`
//     is the bytes from one 64 of m (or n) to the next, that is the bytes of a box. The next
//     16 steps are 16 rows, 2048 bytes, on. Tell wgmma by its template arguments.
// Sums d of a warpgroup's 64 x N product: with w = warp % 4, g = lane / 4, t = lane % 4,
//     d[4j + 2h + l] is row 16w + g + 8h, column 8j + 2t + l
// and A from registers, 64 x 16: a[0] is (16w + g, 2t) and its right neighbour (low half
// first), a[1] row + 8, a[2] column + 8, a[3] both: the sums' own layout, columns 16i … of
// d[8i] … d[8i + 7] packed in pairs in that order.
//
// The interpreter executes all of it; the layouts are those of the PTX manual and CUTLASS's
// documentation and have not been confirmed on a GPU.
#pragma once
#include "cuda.cuh"

// tensor_map is a kernel parameter: `const __grid_constant__ tensor_map m`.
struct __attribute__((aligned(64))) tensor_map { u64 opaque[16]; };

// elect_one is true in one lane of a warp whose lanes are all here.
DEV bool elect_one() {
  u32 r;
  asm volatile("{\n\t.reg .pred p;\n\telect.sync _|p, 0xffffffff;\n\tselp.b32 %0, 1, 0, p;\n\t}" : "=r"(r)::"memory");
  return r != 0;
}

// mbarriers: 8 bytes of shared memory that count `arrivals` and bytes; a phase ends when
// both are complete, phases have parity 0, 1, 0, …
DEV void mbarrier_init(u32 bar, u32 arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals) : "memory"); }
// After the inits, by the same thread; then __syncthreads().
DEV void fence_mbarrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// Arrives, and has the phase wait for that many bytes of TMA.
DEV void mbarrier_expect(u32 bar, u32 bytes) { asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory"); }
DEV void mbarrier_arrive(u32 bar) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory"); }
// Waits until the phase of that parity is over. On a new barrier the phase before the
// first, of parity 1, is.
DEV void mbarrier_wait(u32 bar, u32 parity) {
  asm volatile("{\n\t.reg .pred p;\n\tAGAIN:\n\tmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n\t@!p bra AGAIN;\n\t}" ::"r"(bar), "r"(parity) : "memory");
}

// Writes of this thread to shared memory become visible to TMA and wgmma (and the other
// way round): before the barrier that hands them over.
DEV void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Barriers 1 … 15 between `threads` threads, a multiple of 32.
DEV void named_sync(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
DEV void named_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

// TMA: the box at element (x, y[, z]), x innermost, into shared memory; its bytes count on
// bar, zeros from outside the tensor too.
DEV void tma_load(u32 dst, const tensor_map* m, int x, int y, u32 bar) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(dst), "l"(m), "r"(x), "r"(y), "r"(bar) : "memory");
}
DEV void tma_load(u32 dst, const tensor_map* m, int x, int y, int z, u32 bar) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(dst), "l"(m), "r"(x), "r"(y), "r"(z), "r"(bar) : "memory");
}
// `bytes` bytes in a row, a multiple of 16, both ends on 16 bytes.
DEV void bulk_load(u32 dst, const void* src, u32 bytes, u32 bar) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(dst), "l"(src), "r"(bytes), "r"(bar) : "memory");
}
// And out of shared memory; what lies outside the tensor is not written. The thread that
// stores also commits and waits.
DEV void tma_store(const tensor_map* m, int x, int y, u32 src) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(m), "r"(x), "r"(y), "r"(src) : "memory");
}
DEV void tma_store(const tensor_map* m, int x, int y, int z, u32 src) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3}], [%4];" ::"l"(m), "r"(x), "r"(y), "r"(z), "r"(src) : "memory");
}
// The same, added to what is there: float32 tensors.
DEV void tma_add(const tensor_map* m, int x, int y, u32 src) {
  asm volatile("cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(m), "r"(x), "r"(y), "r"(src) : "memory");
}
DEV void tma_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until all but Pending groups are written, or (reads) have left shared memory.
template <int Pending> DEV void tma_wait() { asm volatile("cp.async.bulk.wait_group %0;" ::"n"(Pending) : "memory"); }
template <int Pending> DEV void tma_wait_reads() { asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Pending) : "memory"); }

// Registers of every thread of the warpgroup, a multiple of 8 in 24 … 256. All warps of it.
template <int N> DEV void more_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> DEV void fewer_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }

// Descriptors of tiles in shared memory, 128-byte swizzle: see above.
DEV u64 k_major(u32 tile) { return (tile & 0x3ffff) >> 4 | (u64)1 << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62; }
DEV u64 mn_major(u32 tile, u32 next) { return (tile & 0x3ffff) >> 4 | (u64)(next >> 4) << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62; }

DEV void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending> DEV void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory"); }

// pin keeps arithmetic on accumulators on its side of a fence or wait.
template <int N> DEV void pin(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}

// wgmma<TransA, TransB>(d, a, b, keep): d = a b + (keep ? d : 0) over 16 steps of k, bf16.
// N is twice the number of sums a thread holds. a and b are descriptors; Trans: MN-major.
// wgmma<TransB>(d, {a0, a1, a2, a3}, b, keep) takes A from registers.
//
// Another N: one more line of WGMMA_N below.
#define WGMMA_R0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define WGMMA_R16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WGMMA_R32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define WGMMA_R48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_R64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define WGMMA_R80 ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define WGMMA_R96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define WGMMA_R112 ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define WGMMA_D16(i)                                                                                                                 \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7]),       \
      "+f"(d[i + 8]), "+f"(d[i + 9]), "+f"(d[i + 10]), "+f"(d[i + 11]), "+f"(d[i + 12]), "+f"(d[i + 13]), "+f"(d[i + 14]), "+f"(d[i + 15])
#define WGMMA_D32(i) WGMMA_D16(i), WGMMA_D16(i + 16)
#define WGMMA_D64(i) WGMMA_D32(i), WGMMA_D32(i + 32)
#define WGMMA_R_32 WGMMA_R0
#define WGMMA_R_64 WGMMA_R_32 WGMMA_R16
#define WGMMA_R_96 WGMMA_R_64 WGMMA_R32
#define WGMMA_R_128 WGMMA_R_96 WGMMA_R48
#define WGMMA_R_192 WGMMA_R_128 WGMMA_R64 WGMMA_R80
#define WGMMA_R_256 WGMMA_R_192 WGMMA_R96 WGMMA_R112

#define WGMMA_N(N, ...)                                                                                                              \
  template <int TransA, int TransB> DEV void wgmma(float (&d)[N / 2], u64 a, u64 b, bool keep) {                                    \
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %[keep], 0;\n\t"                                                             \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" WGMMA_R_##N "}, %[a], %[b], p, 1, 1, %[ta], %[tb];\n\t}" \
                 : __VA_ARGS__ : [a] "l"(a), [b] "l"(b), [keep] "r"((int)keep), [ta] "n"(TransA), [tb] "n"(TransB) : "memory");     \
  }                                                                                                                                 \
  template <int TransB> DEV void wgmma(float (&d)[N / 2], const u32 (&a)[4], u64 b, bool keep) {                                    \
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %[keep], 0;\n\t"                                                             \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" WGMMA_R_##N "}, {%[a0], %[a1], %[a2], %[a3]}, %[b], p, 1, 1, %[tb];\n\t}" \
                 : __VA_ARGS__ : [a0] "r"(a[0]), [a1] "r"(a[1]), [a2] "r"(a[2]), [a3] "r"(a[3]), [b] "l"(b), [keep] "r"((int)keep), [tb] "n"(TransB) : "memory"); \
  }
WGMMA_N(32, WGMMA_D16(0))
WGMMA_N(64, WGMMA_D32(0))
WGMMA_N(96, WGMMA_D32(0), WGMMA_D16(32))
WGMMA_N(128, WGMMA_D64(0))
WGMMA_N(192, WGMMA_D64(0), WGMMA_D32(64))
WGMMA_N(256, WGMMA_D64(0), WGMMA_D64(64))

// wgmma_add<TransB>(d, {a0, a1, a2, a3}, b): d += a b, A from registers, bf16; _f16: f16.
// No predicate, so nothing but the instruction itself.
#define WGMMA_ADD(N, NAME, TYPE, ...)                                                                                                \
  template <int TransB> DEV void NAME(float (&d)[N / 2], const u32 (&a)[4], u64 b) {                                                \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE " {" WGMMA_R_##N "}, {%[a0], %[a1], %[a2], %[a3]}, %[b], 1, 1, 1, %[tb];" \
                 : __VA_ARGS__ : [a0] "r"(a[0]), [a1] "r"(a[1]), [a2] "r"(a[2]), [a3] "r"(a[3]), [b] "l"(b), [tb] "n"(TransB) : "memory"); \
  }
WGMMA_ADD(64, wgmma_add, "bf16.bf16", WGMMA_D32(0))
WGMMA_ADD(128, wgmma_add, "bf16.bf16", WGMMA_D64(0))
WGMMA_ADD(64, wgmma_add_f16, "f16.f16", WGMMA_D32(0))
WGMMA_ADD(128, wgmma_add_f16, "f16.f16", WGMMA_D64(0))
