// philox.cuh: Philox4x32-10 (Salmon et al. 2011), as kernels/gradproj/philox.go.
#pragma once
#include "cuda.cuh"

// mul.wide.u32: plain C becomes a 64-bit multiplication.
DEV void mul_wide(u32 a, u32 b, u32& hi, u32& lo) {
  u64 p;
  asm("mul.wide.u32 %0, %1, %2;" : "=l"(p) : "r"(a), "r"(b));
  hi = (u32)(p >> 32), lo = (u32)p;
}

// philox is one call: 128 random bits for a counter and a key. The keys of the rounds
// follow from the key alone and are the same in all lanes.
DEV void philox(u32 (&c)[4], u32 k0, u32 k1) {
#pragma unroll
  for (int round = 0; round < 10; round++) {
    u32 h0, l0, h1, l1;
    mul_wide(0xD2511F53u, c[0], h0, l0);
    mul_wide(0xCD9E8D57u, c[2], h1, l1);
    c[0] = h1 ^ c[1] ^ k0, c[1] = l1, c[2] = h0 ^ c[3] ^ k1, c[3] = l0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
}
