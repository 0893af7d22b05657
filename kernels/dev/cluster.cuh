// cluster.cuh: blocks that run together and reach one another's shared memory, for sm_90a.
//
// __launch_bounds__(threads, 1, n) makes clusters of n blocks, neighbours in x (kernels/build).
// A block's shared memory must not be touched before it runs nor after it has exited: hence a
// cluster_sync() at the start, behind the initialisation of the mbarriers, and one at the end.
#pragma once
#include "hopper.cuh"

// The block's rank in its cluster.
DEV u32 cluster_rank() {
  u32 r;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return r;
}

// All threads of all blocks; what each wrote before is visible to all after it.
DEV void cluster_arrive() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
DEV void cluster_wait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }
DEV void cluster_sync() { cluster_arrive(), cluster_wait(); }

// The place in block `rank` that corresponds to an address of this block's shared memory.
DEV u32 in_block(u32 address, u32 rank) {
  u32 r;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(r) : "r"(address), "r"(rank));
  return r;
}

// Arrives at an mbarrier of any block of the cluster: see in_block.
DEV void mbarrier_arrive_in(u32 bar) { asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(bar) : "memory"); }
// mbarrier_wait for phases that threads of other blocks end.
DEV void mbarrier_wait_cluster(u32 bar, u32 parity) {
  asm volatile("{\n\t.reg .pred p;\n\tAGAIN:\n\tmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%0], %1;\n\t@!p bra AGAIN;\n\t}" ::"r"(bar), "r"(parity) : "memory");
}

// tma_load into every block of the mask, at the same place; its bytes count on the mbarrier at
// the same place of each.
DEV void tma_multicast(u32 dst, const tensor_map* m, int x, int y, u32 bar, u16 blocks) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(dst), "l"(m), "r"(x), "r"(y), "r"(bar), "h"(blocks) : "memory");
}
