// C[m,n] = alpha op(A) op(B) + beta C, A and B bf16, C and the sums float32, by
// mma.m16n8k16: bf16.go says what A and B are. Rows of A and B begin on 16 bytes. The
// kernels named branch add U op(L), another r steps (lora_bf16.go), in the same sums.
//
// A block of 256 threads computes 128 x 128: eight warps of 64 x 32. Slices of 32 steps
// of k come by 16-byte asynchronous copies, three in flight, zeros beyond the edges. An
// operand whose neighbours are steps lies in shared memory as [128][32], the other as
// [32][128] and is turned by ldmatrix.trans; 16-byte chunks are mixed with the row so
// that no bank is met twice.
//
// Order of a sum: steps of 16, ascending; within a step the tensor core's. A row has the
// same bits alone or in a batch.
//
// Floor: 2 m n k FLOP at the tensor cores' rate. Not measured on a GPU.
// v1  three stages, XOR swizzle: 124 to 128 registers, 48 KiB, no spills, 2 blocks a
//     multiprocessor, 32 mma in a loop of 120 instructions. No bank conflicts, full
//     sectors, minimal bytes (interpreter)
#include "../dev/async.cuh"
#include "../dev/math.cuh"
#include "../dev/mma.cuh"

struct problem {
  const u16* a;
  const u16* b;
  float* c;
  int m, n, k, lda, ldb, ldc;
  float alpha;
  int add;
  const u16* u;  // the branch: r more steps
  const u16* l;
  int r, ldu, ldl;
};

enum { NN, NT, TN };
constexpr int tile = 128, slice = 32, stages = 3, operand_bytes = tile * slice * 2;

// Where chunk c (8 elements) of row r lies: rows of 64 bytes, two of which share the 32
// banks, or rows of 256 bytes.
template <bool Steps> DEV u32 place(int r, int c) {
  return Steps ? r * 64 + ((c ^ (r / 2 % 4)) << 4) : r * 256 + ((c ^ (r % 8)) << 4);
}

// load copies steps k0 … k0+31 of rows i0 … i0+127 of an operand.
template <bool Steps> DEV void load(u32 dst, const u16* p, i64 ld, int i0, int rows, int k0, int k) {
#pragma unroll
  for (int j = 0; j < 2; j++) {
    const int t = threadIdx.x + 256 * j;
    const int r = Steps ? t / 4 : t / 16, c = Steps ? t % 4 : t % 16;
    const int row = Steps ? i0 + r : k0 + r, column = Steps ? k0 + 8 * c : i0 + 8 * c;
    const int row_end = Steps ? rows : k, column_end = Steps ? k : rows;
    const int bytes = row < row_end ? 2 * max(0, min(8, column_end - column)) : 0;
    cp_async_16(dst + place<Steps>(r, c), p + row * ld + column, bytes);
  }
}

template <int Tr, bool Branch> DEV void multiply(const problem& p) {
  __shared__ __align__(128) u8 memory[stages * 2 * operand_bytes];
  const u32 base = shared_address(memory);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, wm = warp % 2 * 64, wn = warp / 2 * 32;
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
#pragma unroll
    for (int k = 0; k < 2; k++) {
      u32 a[4][4], b[2][4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if (Tr != TN) {
          ldmatrix_x4(a[i], sa + place<true>(wm + 16 * i + lane % 16, 2 * k + lane / 16));
        } else {
          ldmatrix_x4_trans(a[i], sa + place<false>(16 * k + lane / 16 * 8 + lane % 8, wm / 8 + 2 * i + lane / 8 % 2));
        }
      }
#pragma unroll
      for (int j = 0; j < 2; j++) {
        if (Tr == NT) {
          ldmatrix_x4(b[j], sb + place<true>(wn + 16 * j + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
        } else {
          ldmatrix_x4_trans(b[j], sb + place<false>(16 * k + lane % 16, wn / 8 + 2 * j + lane / 16));
        }
      }
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) mma_m16n8k16_bf16(acc[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  }

  const bool pairs = p.ldc % 2 == 0 && ((u64)p.c & 7) == 0;
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int row = i0 + wm + 16 * i + lane / 4 + 8 * h;
      if (row >= p.m) continue;
      float* c = p.c + (i64)row * p.ldc;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const int column = j0 + wn + 8 * j + lane % 4 * 2;
        if (pairs && column + 1 < p.n) {
          float2 old = {0.f, 0.f};
          if (p.add) old = *(float2*)(c + column);
          *(float2*)(c + column) = float2{fma(p.alpha, acc[i][j][2 * h], old.x), fma(p.alpha, acc[i][j][2 * h + 1], old.y)};
          continue;
        }
#pragma unroll
        for (int l = 0; l < 2; l++)
          if (column + l < p.n) c[column + l] = fma(p.alpha, acc[i][j][2 * h + l], p.add ? c[column + l] : 0.f);
      }
    }
}

KERNEL __launch_bounds__(256, 2) gemm_bf16_nn(problem p) { multiply<NN, false>(p); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_nt(problem p) { multiply<NT, false>(p); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_tn(problem p) { multiply<TN, false>(p); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_nn_branch(problem p) { multiply<NN, true>(p); }
KERNEL __launch_bounds__(256, 2) gemm_bf16_nt_branch(problem p) { multiply<NT, true>(p); }
