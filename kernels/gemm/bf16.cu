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
//     multiprocessor, 32 mma in a loop of 117 to 135 instructions. No bank conflicts, full
//     sectors, minimal bytes (interpreter)
#include "product_bf16.cuh"

KERNEL __launch_bounds__(256, 2) gemm_bf16_nn(problem p) { multiply<NN, false>(p, blockIdx.y * tile, blockIdx.x * tile); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_nt(problem p) { multiply<NT, false>(p, blockIdx.y * tile, blockIdx.x * tile); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_tn(problem p) { multiply<TN, false>(p, blockIdx.y * tile, blockIdx.x * tile); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_nn_branch(problem p) { multiply<NN, true>(p, blockIdx.y * tile, blockIdx.x * tile); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_nt_branch(problem p) { multiply<NT, true>(p, blockIdx.y * tile, blockIdx.x * tile); }
