// Kernels for the tests of driver/sim: small, and each with one thing to break.
// Rebuild with build.sh; the PTX is committed.
#define GLOBAL extern "C" __attribute__((global))
#define DEVICE static __attribute__((device)) __inline__ __attribute__((always_inline))
#define SHARED __attribute__((shared))
typedef unsigned int u32;
typedef unsigned long long u64;
struct __attribute__((aligned(16))) float4 { float x, y, z, w; };

DEVICE u32 tid() { return __nvvm_read_ptx_sreg_tid_x(); }
DEVICE u32 block() { return __nvvm_read_ptx_sreg_ctaid_x(); }
DEVICE u32 smem(const void *p) { return (u32)(u64)(__attribute__((address_space(3))) const void *)p; }
DEVICE float shfl(float v, int m) {
  float r;
  asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(r) : "f"(v), "r"(m));
  return r;
}
DEVICE void copy16(u32 dst, const void *src) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst), "l"(src) : "memory");
}
DEVICE void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEVICE void wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// y[b] = sum of x[b*n .. b*n+n), 128 threads a block: a value a warp through shared memory.
GLOBAL void __attribute__((launch_bounds(128))) row_sum(const float *__restrict__ x, float *__restrict__ y, int n) {
  SHARED float part[4];
  const float *row = x + (u64)block() * n;
  float s = 0;
  for (u32 i = tid(); i < n; i += 128) s += row[i];
  for (int m = 16; m; m >>= 1) s += shfl(s, m);
  if ((tid() & 31) == 0) part[tid() >> 5] = s;
  __syncthreads();
  if (tid() == 0) y[block()] = part[0] + part[1] + part[2] + part[3];
}

// y[i] = 2 x[n-1-i] over tiles of 512 floats that come by cp.async, two in flight; 128 threads.
GLOBAL void __attribute__((launch_bounds(128))) reverse_tiles(const float *__restrict__ x, float *__restrict__ y, int tiles) {
  SHARED __attribute__((aligned(16))) float buf[2][512];
  const u32 t = tid();
  copy16(smem(&buf[0][4 * t]), x + 4 * t);
  commit();
  for (int k = 0; k < tiles; k++) {
    if (k + 1 < tiles) copy16(smem(&buf[(k + 1) & 1][4 * t]), x + 512 * (k + 1) + 4 * t);
    commit();
    wait<1>();
    __syncthreads();
    const float *b = buf[k & 1];
    float4 v = {2 * b[511 - 4 * t], 2 * b[510 - 4 * t], 2 * b[509 - 4 * t], 2 * b[508 - 4 * t]};
    *(float4 *)(y + 512 * (tiles - 1 - k) + 4 * t) = v;
    __syncthreads();
  }
}

// y[i] = x[i] + 1 in fours, the ragged end one by one.
GLOBAL void __attribute__((launch_bounds(128))) add_one(const float *__restrict__ x, float *__restrict__ y, int n) {
  u32 i = 4 * (block() * 128 + tid());
  if (i + 4 <= n) {
    float4 v = *(const float4 *)(x + i);
    *(float4 *)(y + i) = float4{v.x + 1, v.y + 1, v.z + 1, v.w + 1};
  } else {
    for (; i < n; i++) y[i] = x[i] + 1;
  }
}
