// float32 products of all experts in one launch: experts.go says what is computed. The tiles
// are those of 64 x 64 of gemm.cu, with the orders of its sums: a row has the bits of its
// expert's product alone.
//
// NN and NT: the list of tiles is made on the device (router.Plan) and has 128 rows an entry;
// blocks without rows end at once. TN: a block adds the chunks of 512 rows of its expert to C
// one after the other.
//
// Floor: the FLOP of all products. Not measured on a GPU.
// v1  as gemm.cu's small tile; no launch an expert and no wait for the host
#include "experts.cuh"
#include "tile.cuh"

constexpr int side = 64, chunk = 512;

template <int Tr> DEV void rows(const experts<problem>& x) {
  const int parts = list_rows / side, entry = blockIdx.y / parts, e = expert_of(x, entry);
  if (e < 0) return;
  problem p = x.p;
  p.m = x.offsets[x.first + e + 1];
  const int i0 = x.tiles[2 * entry + 1] + blockIdx.y % parts * side;
  if (i0 >= p.m) return;
  p.b = (const float*)x.own[e];
  multiply<Tr, side, side, 16, 32>(p, 0, p.k, i0, blockIdx.x * side);
}

KERNEL __launch_bounds__(256, 3) experts_nn(experts<problem> x) { rows<NN>(x); }
KERNEL __launch_bounds__(256, 3) experts_nt(experts<problem> x) { rows<NT>(x); }

KERNEL __launch_bounds__(256, 3) experts_tn(experts<problem> x) {
  const int e = blockIdx.z, end = x.offsets[x.first + e + 1];
  problem p = x.p;
  p.c = (float*)x.own[e];
  for (int first = x.offsets[x.first + e]; first < end; first += chunk) {
    multiply<TN, side, side, 16, 32>(p, first, min(end, first + chunk), blockIdx.y * side, blockIdx.x * side);
    __syncthreads();
  }
}
