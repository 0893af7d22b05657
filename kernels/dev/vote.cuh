// vote.cuh: counting what the lanes of a warp, or the threads of a block, find.
#pragma once
#include "cuda.cuh"

// ballot has a bit for every lane whose v is true.
DEV u32 ballot(bool v) {
  u32 r;
  asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.u32 p, %1, 0;\n\tvote.sync.ballot.b32 %0, p, 0xffffffff;\n\t}" : "=r"(r) : "r"((u32)v));
  return r;
}

// count_one adds one to a number in shared memory.
DEV void count_one(u32* bin) { asm volatile("red.shared.add.u32 [%0], 1;" ::"r"(shared_address(bin)) : "memory"); }
