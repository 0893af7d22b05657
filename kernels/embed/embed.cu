// Token embeddings: embed.go says what is computed. The host has checked the ids.
//
// Forward: a block copies one row. Backward: the host sorts the tokens by id; a block
// owns 512 columns of one id's row and adds its tokens in their order, so that there
// are no atomics and the bits are the host twin's.
//
// Floor: forward 2 T d floats (1.5 from bf16), backward T d plus twice the rows touched, at the
// memory's bandwidth. Not measured on a GPU.
// v1  16-byte accesses; backward four rows in flight
#include "../dev/half.cuh"

KERNEL __launch_bounds__(128) embed_forward(const float* table, const int* __restrict__ ids, float* out, int d) {
  table += (i64)ids[blockIdx.x] * d, out += (i64)blockIdx.x * d;
  const bool vec = aligned16(table, out);
  for (int i = 4 * threadIdx.x; i < d; i += 512) store4(out, i, d, vec, load4(table, i, d, vec));
}

KERNEL __launch_bounds__(128) embed_forward_bf16(const u16* table, const int* __restrict__ ids, float* out, int d) {
  table += (i64)ids[blockIdx.x] * d, out += (i64)blockIdx.x * d;
  const bool vec = aligned8(table), vec_out = aligned16(out);
  for (int i = 4 * threadIdx.x; i < d; i += 512) store4(out, i, d, vec_out, load4_bf16(table, i, d, vec));
}

DEV void add(quad& sum, const quad& q) {
#pragma unroll
  for (int k = 0; k < 4; k++) sum.v[k] += q.v[k];
}

// Row ids[b] gets the sum of dout[tokens[starts[b] … starts[b+1]-1]].
KERNEL __launch_bounds__(128) embed_backward(const float* dout, const int* __restrict__ ids, const int* __restrict__ starts, const int* __restrict__ tokens, float* dtable, int d) {
  const int b = blockIdx.x, i = blockIdx.y * 512 + 4 * threadIdx.x, last = starts[b + 1];
  dtable += (i64)ids[b] * d;
  const bool vec = aligned16(dout, dtable) && d % 4 == 0;
  quad sum = load4(dtable, i, d, vec);
  int t = starts[b];
  for (; t + 4 <= last; t += 4) {
    quad q[4];
#pragma unroll
    for (int j = 0; j < 4; j++) q[j] = load4(dout + (i64)tokens[t + j] * d, i, d, vec);
#pragma unroll
    for (int j = 0; j < 4; j++) add(sum, q[j]);
  }
  for (; t < last; t++) add(sum, load4(dout + (i64)tokens[t] * d, i, d, vec));
  store4(dtable, i, d, vec, sum);
}
