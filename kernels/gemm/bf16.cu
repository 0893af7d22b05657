// C[m,n] = alpha op(A) op(B) + beta C, A and B bf16, C and the sums float32, by
// mma.m16n8k16: bf16.go defines A and B. Rows of A and B begin on 16 bytes. The
// kernels named branch add U op(L), another r steps (lora_bf16.go), in the same sums.
//
// A block of 256 threads computes 128 x 128: eight warps of 64 x 32. Slices of 32 steps
// of k come by 16-byte asynchronous copies, three in flight, zeros beyond the edges. An
// operand whose neighbours are steps is stored in shared memory as [128][32], the other as
// [32][128] and transposed by ldmatrix.trans; 16-byte chunks are mixed with the row so
// that there are no bank conflicts.
//
// Order of a sum: steps of 16, ascending; within a step the tensor core's. A row has the
// same bits alone or in a batch.
//
// Floor: 2 m n k FLOP at the tensor cores' rate. Not measured on a GPU.
// v1  three stages, XOR swizzle: 124 to 128 registers, 48 KiB, no spills, 2 blocks a
//     multiprocessor, 32 mma in a loop of 120 instructions. No bank conflicts, full
//     sectors, minimal bytes (interpreter)
#include "product_bf16.cuh"

template <int Tr, bool Branch> DEV void multiply(const problem& p) {
  __shared__ __align__(128) u8 memory[stages * 2 * operand_bytes];
  const u32 base = shared_address(memory);
  const warp_tile w;
  const int i0 = blockIdx.y * tile, j0 = blockIdx.x * tile;
  const int own = (p.k + slice - 1) / slice, slices = own + (Branch ? (p.r + slice - 1) / slice : 0);
  float acc[4][4][4];
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int l = 0; l < 4; l++) acc[i][j][l] = 0;

  auto fetch = [&](int s) {
    if (s < slices) {
      const u32 at = base + s % stages * 2 * operand_bytes;
      const bool low = Branch && s >= own;
      const int k0 = (low ? s - own : s) * slice, k = low ? p.r : p.k;
      load<Tr != TN>(at, low ? p.u : p.a, low ? p.ldu : p.lda, i0, p.m, k0, k);
      load<Tr == NT>(at + operand_bytes, low ? p.l : p.b, low ? p.ldl : p.ldb, j0, p.n, k0, k);
    }
    cp_async_commit();
  };
  fetch(0);
  fetch(1);
  for (int s = 0; s < slices; s++) {
    cp_async_wait<stages - 2>();
    __syncthreads();
    fetch(s + stages - 1);
    const u32 sa = base + s % stages * 2 * operand_bytes, sb = sa + operand_bytes;
    products<Tr>(acc, sa, sb, w);
  }
  store(p, acc, i0, j0, w);
}

KERNEL __launch_bounds__(256, 2) gemm_bf16_nn(problem p) { multiply<NN, false>(p); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_nt(problem p) { multiply<NT, false>(p); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_tn(problem p) { multiply<TN, false>(p); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_nn_branch(problem p) { multiply<NN, true>(p); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_nt_branch(problem p) { multiply<NT, true>(p); }
