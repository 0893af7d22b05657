// Columns of a matrix taken out, and their gradient put back: columns.go says what for.
//
// A thread owns four neighbouring columns of a row; 16-byte accesses where every row of
// both matrices allows them.
//
// Floor: take reads and writes a number, 8 bytes; add 12. Not measured on a GPU.
// v1  16 bytes a thread and access: 20 registers, no spills, 100 % of the warps; the least
//     bytes in full sectors (interpreter)
#include "../dev/quad.cuh"

struct columns {
  float* narrow;  // [rows, n]
  float* wide;    // the first of the columns, of rows `width` long
  int rows, n, width;
};

// place tells a thread its row and its first column; false: none.
DEV bool place(const columns& p, i64& row, int& at, bool& vec) {
  const u32 quads = (p.n + 3) / 4, i = blockIdx.x * 256 + threadIdx.x;
  row = i / quads, at = 4 * (i - (u32)row * quads);
  vec = aligned16(p.narrow, p.wide) && p.n % 4 == 0 && p.width % 4 == 0;
  return row < p.rows;
}

KERNEL __launch_bounds__(256) columns_take(columns p) {
  i64 row;
  int at;
  bool vec;
  if (place(p, row, at, vec)) store4(p.narrow + row * p.n, at, p.n, vec, load4(p.wide + row * p.width, at, p.n, vec));
}

KERNEL __launch_bounds__(256) columns_add(columns p) {
  i64 row;
  int at;
  bool vec;
  if (!place(p, row, at, vec)) return;
  float* wide = p.wide + row * p.width;
  quad sum = load4(wide, at, p.n, vec), more = load4(p.narrow + row * p.n, at, p.n, vec);
#pragma unroll
  for (int k = 0; k < 4; k++) sum.v[k] += more.v[k];
  store4(wide, at, p.n, vec, sum);
}
