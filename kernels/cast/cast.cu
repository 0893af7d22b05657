// float32 to bf16 and back: cast.go defines the rounding.
//
// A thread owns two groups of four elements, 1024 apart: 16 bytes of float32 and 8 of
// bf16 an access, so that both sides' requests are full sectors.
//
// Floor: 6 bytes an element at the memory's bandwidth. Not measured on a GPU.
// v1  16- and 8-byte accesses, two groups in flight
#include "../dev/half.cuh"

KERNEL __launch_bounds__(256) cast_narrow(const float* x, u16* y, i64 n) {
  const i64 i = (i64)blockIdx.x * 2048 + threadIdx.x * 4;
  const bool vx = aligned16(x), vy = aligned8(y);
  quad q[2];
#pragma unroll
  for (int j = 0; j < 2; j++) q[j] = load4(x, i + 1024 * j, n, vx);
#pragma unroll
  for (int j = 0; j < 2; j++) store4_bf16(y, i + 1024 * j, n, vy, q[j]);
}

// A thread owns four neighbours of a row.
KERNEL __launch_bounds__(256) cast_narrow_rows(const float* x, u16* y, int rows, int cols, int ld, float alpha) {
  const int width = (ld + 3) / 4, t = blockIdx.x * 256 + threadIdx.x, row = t / width, i = t % width * 4;
  if (row >= rows) return;
  x += (i64)row * cols, y += (i64)row * ld;
  quad q = load4(x, i, cols, aligned16(x));
#pragma unroll
  for (int k = 0; k < 4; k++) q.v[k] *= alpha;
  store4_bf16(y, i, ld, aligned8(y), q);
}

KERNEL __launch_bounds__(256) cast_widen(const u16* x, float* y, i64 n) {
  const i64 i = (i64)blockIdx.x * 2048 + threadIdx.x * 4;
  const bool vx = aligned8(x), vy = aligned16(y);
  quad q[2];
#pragma unroll
  for (int j = 0; j < 2; j++) q[j] = load4_bf16(x, i + 1024 * j, n, vx);
#pragma unroll
  for (int j = 0; j < 2; j++) store4(y, i + 1024 * j, n, vy, q[j]);
}

// out = bf16(x + scale y), which may be in the memory of x or y.
KERNEL __launch_bounds__(256) cast_sum(const u16* x, const u16* y, u16* out, i64 n, float scale) {
  const i64 i = (i64)blockIdx.x * 2048 + threadIdx.x * 4;
  const bool vec = aligned8(x, y, out);
  quad q[2], r[2];
#pragma unroll
  for (int j = 0; j < 2; j++) q[j] = load4_bf16(x, i + 1024 * j, n, vec), r[j] = load4_bf16(y, i + 1024 * j, n, vec);
#pragma unroll
  for (int j = 0; j < 2; j++) {
#pragma unroll
    for (int k = 0; k < 4; k++) q[j].v[k] = fma(scale, r[j].v[k], q[j].v[k]);
    store4_bf16(out, i + 1024 * j, n, vec, q[j]);
  }
}

// A list of matrices in one launch: x [rows, cols] to y [rows, ld], ld a multiple of 4.
struct matrix {
  const float* x;
  u16* y;
  int rows, cols, ld, padding;
};
constexpr int most = 96;
struct list { matrix items[most]; };

// blockIdx.y is the matrix. A thread owns two groups of four elements of y.
KERNEL __launch_bounds__(256) cast_narrow_list(list l) {
  const matrix m = l.items[blockIdx.y];
  const int n = m.rows * m.ld;
  const bool vec = aligned16(m.x) && m.cols % 4 == 0, vec_y = aligned8(m.y);
#pragma unroll
  for (int j = 0; j < 2; j++) {
    const int i = blockIdx.x * 2048 + 1024 * j + threadIdx.x * 4;
    if (i >= n) continue;
    const int row = i / m.ld, column = i % m.ld;
    store4_bf16(m.y, i, n, vec_y, load4(m.x + (i64)row * m.cols, column, m.cols, vec));
  }
}
