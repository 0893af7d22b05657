// Attention from one new token a sequence to its cache, float32: cached.go says what is
// computed. A block takes 128 keys of a sequence, for up to eight query heads that share
// them, and leaves its softmax's maximum, sum and unnormalised output; cached_combine
// puts a sequence's blocks together in their order. Where there is one block it writes
// the output itself. Keys are counted from the first that is seen, so that a sequence's
// bits depend on it alone.
//
// Scores: a thread a key, keys in slices of 32 floats through shared memory, one copied
// while the other is multiplied. Sums: a thread a column, values straight from global
// memory; where rows are short, 128/columns threads share a column's keys.
//
// Floor: a sequence's keys and values once, at the memory's bandwidth. Not measured on a
// GPU.
// v1  160 registers, 46 KiB, no spills, 3 blocks a multiprocessor; minimal bytes, full
//     sectors, no bank conflicts (interpreter)
#include "../dev/async.cuh"
#include "../dev/quad.cuh"
#include "../dev/warp.cuh"

constexpr int chunk = 128, heads_of_block = 8, slice = 32, quads = slice / 4;
constexpr int row_quads = quads + 1;  // eight keys' quads start in different banks
constexpr int ends = 8;               // floats after a partial output: its maximum, its sum, nothing

struct arguments {
  const float *q, *k, *v;
  float *out, *partial;  // partial: [n][heads][chunks][head_dim + ends], null if all rows have one
  const int* rows;       // [n][2]: slot and length
  int capacity, heads, kv_heads, head_dim, window, chunks, columns, vec;
  float scale, cap;
};

// sequence is what a row of the batch attends to: keys first … last-1 of its slot.
struct sequence { i64 base; int first, last, parts; };

DEV sequence sequence_of(const arguments& p, int row) {
  const int slot = p.rows[2 * row], last = p.rows[2 * row + 1];
  const int first = p.window > 0 ? max(0, last - p.window) : 0;
  return {(i64)slot * p.capacity, first, last, (last - first + chunk - 1) / chunk};
}

struct buffers {
  float4 keys[2][chunk * row_quads];
  float4 queries[2][heads_of_block * quads];
  float4 weights[2][chunk];  // of heads 0 … 3 and 4 … 7 of every key
  float tops[4][heads_of_block], sums[4][heads_of_block];  // of every warp
  float shares[heads_of_block][128];
};

// load_slice copies floats d0 … d0+31 of the block's keys: zeros beyond the last and
// beyond head_dim.
DEV void load_slice(u32 dst, const float* k, i64 ld, int count, int d0, const arguments& p) {
  if (p.vec) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int r = threadIdx.x / 8 + 16 * i, c = threadIdx.x % 8 * 4;
      cp_async_16(dst + 16 * r * row_quads + 4 * c, k + r * ld + d0 + c, r < count && d0 + c < p.head_dim ? 16 : 0);
    }
  } else {
#pragma unroll 4
    for (int i = 0; i < 32; i++) {
      const int r = threadIdx.x / 32 + 4 * i, c = threadIdx.x % 32;
      cp_async_4(dst + 16 * r * row_quads + 4 * c, k + r * ld + d0 + c, r < count && d0 + c < p.head_dim);
    }
  }
}

// fetch starts slice d0 of keys and queries on their way to buffer `to`.
DEV void fetch(buffers& b, int to, const float* q, const float* k, i64 ld, int heads, int count, int d0, const arguments& p) {
  if (d0 < p.head_dim) {
    load_slice(shared_address(b.keys[to]), k, ld, count, d0, p);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int g = threadIdx.x / 32 + 4 * i, c = threadIdx.x % 32;
      cp_async_4(shared_address(b.queries[to]) + 4 * (g * slice + c), q + g * p.head_dim + d0 + c, g < heads && d0 + c < p.head_dim);
    }
  }
  cp_async_commit();
}

// scores: this thread's key . every head's query.
DEV void scores(float (&s)[heads_of_block], buffers& b, const float* q, const float* k, i64 ld, int heads, int count, const arguments& p) {
#pragma unroll
  for (int g = 0; g < heads_of_block; g++) s[g] = 0;
  fetch(b, 0, q, k, ld, heads, count, 0, p);
  for (int d0 = 0, at = 0; d0 < p.head_dim; d0 += slice, at ^= 1) {
    cp_async_wait<0>();
    __syncthreads();
    fetch(b, at ^ 1, q, k, ld, heads, count, d0 + slice, p);
#pragma unroll
    for (int i = 0; i < quads; i++) {
      const float4 x = b.keys[at][threadIdx.x * row_quads + i];
#pragma unroll
      for (int g = 0; g < heads_of_block; g++) {
        const float4 y = b.queries[at][g * quads + i];
#pragma unroll
        for (int l = 0; l < 4; l++) s[g] = fma(x[l], y[l], s[g]);
      }
    }
  }
}

// soften turns them into exp(s - top), kept in b.weights; the sums stay in b.sums.
DEV void soften(float (&s)[heads_of_block], float (&top)[heads_of_block], buffers& b, int count, const arguments& p) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const bool there = (int)threadIdx.x < count;
#pragma unroll
  for (int g = 0; g < heads_of_block; g++) {
    s[g] *= p.scale;
    if (p.cap > 0) s[g] = p.cap * tanh(s[g] / p.cap);
    top[g] = warp_max(there ? s[g] : -infinity);
    if (lane == 0) b.tops[warp][g] = top[g];
  }
  __syncthreads();
#pragma unroll
  for (int g = 0; g < heads_of_block; g++) {
    top[g] = fmax(fmax(b.tops[0][g], b.tops[1][g]), fmax(b.tops[2][g], b.tops[3][g]));
    s[g] = there ? exp(s[g] - top[g]) : 0.f;
    const float sum = warp_sum(s[g]);
    if (lane == 0) b.sums[warp][g] = sum;
  }
#pragma unroll
  for (int h = 0; h < 2; h++) b.weights[h][threadIdx.x] = float4{s[4 * h], s[4 * h + 1], s[4 * h + 2], s[4 * h + 3]};
  __syncthreads();
}

KERNEL __launch_bounds__(128, 3) cached_forward(arguments p) {
  __shared__ __align__(16) buffers b;
  const int row = blockIdx.x / p.chunks, part = blockIdx.x % p.chunks, group = p.heads / p.kv_heads;
  const int batches = (group + heads_of_block - 1) / heads_of_block;
  const int kv_head = blockIdx.y / batches, g0 = blockIdx.y % batches * heads_of_block;
  const int heads = min(heads_of_block, group - g0);
  const i64 head = (i64)row * p.heads + kv_head * group + g0;  // the block's first, of all rows
  const sequence seq = sequence_of(p, row);
  const int begin = seq.first + part * chunk, count = min(chunk, seq.last - begin);
  if (count <= 0) return;
  const i64 ld = (i64)p.kv_heads * p.head_dim, at = (seq.base + begin) * ld + kv_head * p.head_dim;

  float s[heads_of_block], top[heads_of_block];
  scores(s, b, p.q + head * p.head_dim, p.k + at, ld, heads, count, p);
  soften(s, top, b, count, p);

  const int shares = 128 / p.columns, share = threadIdx.x / p.columns;
  for (int d0 = 0; d0 < p.head_dim; d0 += p.columns) {
    const int d = d0 + threadIdx.x % p.columns;
    float o[heads_of_block] = {};
    if (d < p.head_dim) {
      const float* v = p.v + at + d;
#pragma unroll 8
      for (int j = share; j < count; j += shares) {
        const float x = v[j * ld];
        const float4 lo = b.weights[0][j], hi = b.weights[1][j];
#pragma unroll
        for (int l = 0; l < 4; l++) o[l] = fma(lo[l], x, o[l]), o[4 + l] = fma(hi[l], x, o[4 + l]);
      }
    }
    __syncthreads();
#pragma unroll
    for (int g = 0; g < heads_of_block; g++) b.shares[g][threadIdx.x] = o[g];
    __syncthreads();
    if (share > 0 || d >= p.head_dim) continue;
#pragma unroll
    for (int g = 0; g < heads_of_block; g++) {
      if (g >= heads) break;
      for (int i = 1; i < shares; i++) o[g] += b.shares[g][i * p.columns + threadIdx.x];
      const float sum = b.sums[0][g] + b.sums[1][g] + b.sums[2][g] + b.sums[3][g];
      if (seq.parts == 1) {
        p.out[(head + g) * p.head_dim + d] = o[g] / sum;
        continue;
      }
      float* to = p.partial + ((head + g) * p.chunks + part) * (p.head_dim + ends);
      to[d] = o[g];
      if (d == 0) to[p.head_dim] = top[g], to[p.head_dim + 1] = sum;
    }
  }
}

// cached_combine: a row's head a block.
KERNEL __launch_bounds__(128) cached_combine(arguments p) {
  const int ld = p.head_dim + ends;
  const sequence seq = sequence_of(p, blockIdx.x / p.heads);
  if (seq.parts == 1) return;
  const float* from = p.partial + (i64)blockIdx.x * p.chunks * ld;
  float top = -infinity;
  for (int i = 0; i < seq.parts; i++) top = fmax(top, from[i * ld + p.head_dim]);
  for (int d = threadIdx.x; d < p.head_dim; d += 128) {
    float sum = 0, o = 0;
    for (int i = 0; i < seq.parts; i++) {
      const float shrink = exp(from[i * ld + p.head_dim] - top);
      sum = fma(from[i * ld + p.head_dim + 1], shrink, sum);
      o = fma(from[i * ld + d], shrink, o);
    }
    p.out[(i64)blockIdx.x * p.head_dim + d] = o / sum;
  }
}

// cached_store: a row a warp.
KERNEL __launch_bounds__(128) cached_store(const float* x, const int* __restrict__ rows, float* cache, int n, int width) {
  const int row = blockIdx.x * 4 + threadIdx.x / 32;
  if (row >= n) return;
  x += (i64)row * width, cache += (i64)rows[row] * width;
  const bool vec = aligned16(x, cache);
  for (int i = 4 * (threadIdx.x % 32); i < width; i += 128) store4(cache, i, width, vec, load4(x, i, width, vec));
}
