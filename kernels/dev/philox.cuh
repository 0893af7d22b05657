// philox.cuh: Philox4x32-10 (Salmon et al. 2011), as kernels/gradproj/philox.go.
#pragma once
#include "cuda.cuh"

// mul.wide.u32: plain C becomes a 64-bit multiplication.
DEV void mul_wide(u32 a, u32 b, u32& hi, u32& lo) {
  asm("{\n\t.reg .b64 p;\n\tmul.wide.u32 p, %2, %3;\n\tmov.b64 {%0, %1}, p;\n\t}" : "=r"(lo), "=r"(hi) : "r"(a), "r"(b));
}

// a ^ b ^ c and (a & b) ^ c, one instruction each whatever the compiler makes of the rest.
DEV u32 xor3(u32 a, u32 b, u32 c) {
  u32 r;
  asm("lop3.b32 %0, %1, %2, %3, 0x96;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}
DEV u32 and_xor(u32 a, u32 b, u32 c) {
  u32 r;
  asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}

// philox is one call: 128 random bits for a counter and the keys of the ten rounds, k0 then
// k1 of each, which the host works out (of kernels/gradproj/philox.go): as parameters of the kernel they are
// operands that cost no instruction.
DEV void philox(u32 (&c)[4], const u32 (&keys)[20]) {
#pragma unroll
  for (int round = 0; round < 10; round++) {
    u32 h0, l0, h1, l1;
    mul_wide(0xD2511F53u, c[0], h0, l0);
    mul_wide(0xCD9E8D57u, c[2], h1, l1);
    c[0] = xor3(h1, c[1], keys[2 * round]), c[1] = l1, c[2] = xor3(h0, c[3], keys[2 * round + 1]), c[3] = l0;
  }
}
