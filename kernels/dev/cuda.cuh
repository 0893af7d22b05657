// cuda.cuh: the CUDA C++ that our kernels need, for clang -x cuda -nocudainc -nocudalib.
//
// Keywords, the built-in coordinates, vector types and integer names; nothing of it is
// left in the PTX but the special registers. Kernels are compiled with
// -ffp-contract=off: what is fused is written fma(), so that a GPU, the interpreter
// and a host twin that says the same round alike.
#pragma once

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__ __attribute__((grid_constant))
#define __restrict__ __restrict

#define DEV static __device__ __inline__ __attribute__((always_inline))
#define DEV_METHOD __device__ __inline__ __attribute__((always_inline))
#define KERNEL extern "C" __global__ void

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// clang's own trick: reading a property reads the special register.
#define COORDINATE(type, register)                                               \
  struct type {                                                                  \
    __declspec(property(get = get_x)) unsigned x;                                \
    __declspec(property(get = get_y)) unsigned y;                                \
    __declspec(property(get = get_z)) unsigned z;                                \
    __device__ static unsigned get_x() { return __nvvm_read_ptx_sreg_##register##_x(); } \
    __device__ static unsigned get_y() { return __nvvm_read_ptx_sreg_##register##_y(); } \
    __device__ static unsigned get_z() { return __nvvm_read_ptx_sreg_##register##_z(); } \
  }
COORDINATE(thread_coordinate, tid);
COORDINATE(block_coordinate, ctaid);
COORDINATE(block_extent, ntid);
COORDINATE(grid_extent, nctaid);
#undef COORDINATE
extern const __device__ __attribute__((weak)) thread_coordinate threadIdx;
extern const __device__ __attribute__((weak)) block_coordinate blockIdx;
extern const __device__ __attribute__((weak)) block_extent blockDim;
extern const __device__ __attribute__((weak)) grid_extent gridDim;

// Vectors of the compiler, not structs: a load of one stays one load.
typedef float float2 __attribute__((ext_vector_type(2)));
typedef float float4 __attribute__((ext_vector_type(4)));
typedef u32 uint2 __attribute__((ext_vector_type(2)));
typedef u32 uint4 __attribute__((ext_vector_type(4)));

DEV u32 bits(float x) { return __builtin_bit_cast(u32, x); }
DEV float as_float(u32 x) { return __builtin_bit_cast(float, x); }
DEV int min(int a, int b) { return a < b ? a : b; }
DEV int max(int a, int b) { return a > b ? a : b; }

// shared_address is the 32-bit address that shared-memory instructions take.
DEV u32 shared_address(const void* p) { return (u32)(u64)(__attribute__((address_space(3))) const void*)p; }
// Stores 16 bytes in shared memory at such an address, a multiple of 16.
DEV void st_shared_v4(u32 dst, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(dst), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
// Waits for the warp's lanes, and makes what they have written visible to one another.
DEV void warp_sync() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }
