// async.cuh: copies from global to shared memory that go past the registers (sm_80).
#pragma once
#include "cuda.cuh"

// Copies 4 bytes, or writes zeros where there is nothing to copy; src is not read then.
DEV void cp_async_4(u32 dst, const void* src, bool there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(dst), "l"(src), "r"(there ? 4 : 0) : "memory");
}
// The same for 16 bytes, of which `bytes` are read.
DEV void cp_async_16(u32 dst, const void* src, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
}
DEV void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most Pending of this thread's groups are on their way.
template <int Pending> DEV void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory"); }

// cp_async_16 to dst + offset, a constant once loops are unrolled: no addition.
DEV void cp_async_16(u32 dst, int offset, const void* src, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0+%1], [%2], 16, %3;" ::"r"(dst), "i"(offset), "l"(src), "r"(bytes) : "memory");
}
