// Gradients of adapters, C[m,n] += Aᵀ B over parts of the rows of A and B, bf16 with sums in
// float32, by mma.m16n8k16: lora_gradient.go says what is computed. One of m and n is the rank,
// at most R, the other a layer's width: its factor is called wide, that of the rank thin. Rows
// of both begin on 16 bytes.
//
// The rows are tokens, many, and C has few tiles. So they are cut into pieces, whose number
// depends on their number alone: a block of 256 threads sums one piece for 128 columns of the wide
// factor and all of the thin one, 16 columns a warp. Slices of 32 rows come by 16-byte
// asynchronous copies, four in flight, and are transposed by ldmatrix.trans; 16-byte chunks are
// mixed with the row so that there are no bank conflicts. The sums of several pieces go to
// memory, and gemm_lora_gradient_sum adds them up. Blocks of the same piece are neighbours: a
// wide factor that several gradients share is read from memory once.
//
// Order of a sum: rows ascending in steps of 16, within a step the tensor core's; then pieces
// ascending, then parts ascending, each of which is added to C.
//
// Floor: the bytes of A and B. Llama-3-8B, r = 16, 8,192 tokens: 1.14 GB a layer, 265 us on an
// H200 at 4.3 TB/s. Not measured on a GPU; predicted for 132 multiprocessors:
// v0  gemm_group_tn, tiles of 128 x 128 over all tokens: 8 waves of at least 37 us, the tensor
//     cores' time for 16 columns of 128 and for a tile alone, and 67 us at the rate of slim
//     tiles: 300 to 530 us a layer
// v1  pieces and columns of the rank alone: 310 us a layer at 85 % of the bandwidth and 15 us
//     for the partial sums, 45 MB that stay in the L2 cache mostly. A launch for all
//     micro-batches of a pass: 16 of 512 tokens took 64 launches a layer
#include "tile_bf16.cuh"

constexpr int max_gradients = 6, max_pieces = 64, ring = 4;

// gradient is one C: [width, rank], or [rank, width] if it is across.
struct gradient {
  const u16* wide;  // [rows, width]
  const u16* thin;  // [rows, rank]
  float* c;
  i64 at;  // of its entries in a piece of partial
  int width, rank, ld_wide, ld_thin, ldc, across;
  int tiles;  // of all gradients up to this one, itself included
  int padding;
};

struct gradients {
  gradient list[max_gradients];
  float* partial;  // [pieces][entries]; null = one piece, which is added to C
  i64 entries;
  u64 ends;        // bit p: piece p is the last of its part
  int count, rank;  // of gradients; the largest
  int pieces;
  int first[max_pieces + 1];  // row of each piece
};

// thin_at is the offset of chunk c (8 elements) of row r of the thin factor.
template <int R> DEV u32 thin_at(int r, int c) {
  constexpr int chunks = R / 8;
  return r * 2 * R + ((c ^ (r * chunks / 8 % chunks)) << 4);
}

// load_thin copies rows k0 … k0+31 of the thin factor.
template <int R> DEV void load_thin(u32 dst, const gradient& p, int k0, int k) {
  const int r = threadIdx.x / (R / 8), c = threadIdx.x % (R / 8);
  if (r >= slice) return;
  const int bytes = k0 + r < k ? 2 * max(0, min(8, p.rank - 8 * c)) : 0;
  cp_async_16(dst + thin_at<R>(r, c), p.thin + (i64)(k0 + r) * p.ld_thin + 8 * c, bytes);
}

// store writes a warp's 16 columns of the wide factor from i on, or adds them to C: in pairs
// where C's rows are the wide factor's columns and lie on 8 bytes.
template <int R> DEV void store(const gradient& p, float* c, int ld, bool add, int i, const float (&acc)[R / 8][4]) {
  const int lane = threadIdx.x % 32, t = lane % 4 * 2;
  const bool pairs = ld % 2 == 0 && ((u64)c & 7) == 0;
#pragma unroll
  for (int j = 0; j < R / 8; j++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int column = i + lane / 4 + 8 * h, n = 8 * j + t;
      if (column >= p.width) continue;
      const float x = acc[j][2 * h], y = acc[j][2 * h + 1];
      if (!p.across && pairs && n + 1 < p.rank) {
        float2* at = (float2*)(c + (i64)column * ld + n);
        float2 old = {0.f, 0.f};
        if (add) old = *at;
        *at = float2{old.x + x, old.y + y};
        continue;
      }
      float* at = p.across ? c + (i64)n * ld + column : c + (i64)column * ld + n;
      const i64 next = p.across ? ld : 1;
      if (n < p.rank) *at = x + (add ? *at : 0.f);
      if (n + 1 < p.rank) at[next] = y + (add ? at[next] : 0.f);
    }
}

template <int R> DEV void sum_piece(const gradients& g) {
  constexpr int stage = operand_bytes + slice * R * 2;
  __shared__ __align__(128) u8 memory[ring * stage];
  int s = 0, before = 0;
  const int id = blockIdx.x, piece = blockIdx.y;
#pragma unroll
  for (int i = 0; i < max_gradients - 1; i++)
    if (id >= g.list[i].tiles) s = i + 1, before = g.list[i].tiles;
  const gradient p = g.list[s];
  const int i0 = (id - before) * tile, k0 = g.first[piece], k = g.first[piece + 1], slices = (k - k0 + slice - 1) / slice;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float acc[R / 8][4] = {};

  auto fetch = [&](int n, u32 to) {
    load<false>(to, p.wide, p.ld_wide, i0, p.width, k0 + n * slice, k);
    load_thin<R>(to + operand_bytes, p, k0 + n * slice, k);
  };
  through_ring<ring, stage>(shared_address(memory), slices, fetch, [&](u32 sa) {
    const u32 sb = sa + operand_bytes;
#pragma unroll
    for (int step = 0; step < slice; step += 16) {
      u32 a[4], b[4];
      ldmatrix_x4_trans(a, sa + place<false>(step + lane / 16 * 8 + lane % 8, 2 * warp + lane / 8 % 2));
#pragma unroll
      for (int j = 0; j < R / 8; j += 2) {
        ldmatrix_x4_trans(b, sb + thin_at<R>(step + lane % 16, j + lane / 16));
        mma_m16n8k16_bf16(acc[j], a, b[0], b[1]);
        mma_m16n8k16_bf16(acc[j + 1], a, b[2], b[3]);
      }
    }
  });
  if (g.partial) {
    store<R>(p, g.partial + piece * g.entries + p.at, p.across ? p.width : p.rank, false, i0 + 16 * warp, acc);
  } else {
    store<R>(p, p.c, p.ldc, true, i0 + 16 * warp, acc);
  }
}

KERNEL __launch_bounds__(256, 4) gemm_lora_gradient_16(gradients g) { sum_piece<16>(g); }
KERNEL __launch_bounds__(256, 4) gemm_lora_gradient_32(gradients g) { sum_piece<32>(g); }
KERNEL __launch_bounds__(256, 3) gemm_lora_gradient_64(gradients g) { sum_piece<64>(g); }

// Adds the sums of the pieces to every C, an entry a thread.
KERNEL __launch_bounds__(256) gemm_lora_gradient_sum(gradients g) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= g.entries) return;
  int s = 0;
#pragma unroll
  for (int n = 1; n < max_gradients; n++)
    if (i >= g.list[n].at) s = n;
  const gradient& p = g.list[s];
  const int own = i - p.at, columns = p.across ? p.width : p.rank;
  float* c = p.c + (i64)(own / columns) * p.ldc + own % columns;
  float sum = *c, part = 0;
  const float* from = g.partial + i;
  bool fresh = true;
#pragma unroll 4
  for (int piece = 0; piece < g.pieces; piece++) {
    const float v = from[piece * g.entries];
    part = fresh ? v : part + v;
    fresh = g.ends >> piece & 1;
    if (fresh) sum += part;
  }
  *c = sum;
}
