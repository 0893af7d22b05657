// bf16 products of all experts in one launch, C and the sums float32, by mma.m16n8k16:
// experts.go says what is computed. The tiles are those of bf16.cu, with the orders of its
// sums: a row has the bits of its expert's product alone.
//
// NN and NT: the list of tiles is made on the device (router.Plan); blocks without rows end at
// once. TN: a block sums all rows of its expert. Rows of all factors begin on 16 bytes.
//
// Floor: the FLOP of all products at the tensor cores' rate. Not measured on a GPU.
// v1  as bf16.cu; no launch an expert and no wait for the host: an expert's product alone has
//     24 tiles of 128 x 128 of Qwen3-30B-A3B at 8192 tokens, for 132 multiprocessors
#include "experts.cuh"
#include "product_bf16.cuh"

template <int Tr> DEV void rows(const experts<problem>& x) {
  const int e = expert_of(x, blockIdx.y);
  if (e < 0) return;
  problem p = x.p;
  p.m = x.offsets[x.first + e + 1];
  p.b = (const u16*)x.own[e], p.l = (const u16*)x.other[e];
  multiply<Tr, true>(p, x.tiles[2 * blockIdx.y + 1], blockIdx.x * tile);
}

KERNEL __launch_bounds__(256, 2) experts_bf16_nn(experts<problem> x) { rows<NN>(x); }
KERNEL __launch_bounds__(256, 2) experts_bf16_nt(experts<problem> x) { rows<NT>(x); }

KERNEL __launch_bounds__(256, 2) experts_bf16_tn(experts<problem> x) {
  const int e = blockIdx.z, begin = x.offsets[x.first + e];
  problem p = x.p;
  p.k = x.offsets[x.first + e + 1] - begin;
  if (p.k == 0) return;
  p.a += (i64)begin * p.lda, p.b += (i64)begin * p.ldb;
  p.c = (float*)x.own[e];
  multiply<TN, false>(p, blockIdx.y * tile, blockIdx.x * tile);
}
