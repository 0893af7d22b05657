/*
 * fake.h - a libnccl.so.2 for tests: the same binary interface, no GPU. Ranks are processes (or
 * threads) of this machine; all data go over loopback TCP through a hub, which lives in the
 * process that called ncclGetUniqueId. It is stricter than the real one: ranks that call
 * different collectives, lengths or types, and ranks that wait for each other in a circle, are
 * told so, where NCCL would hang or mix the data up; a rank that has gone is named.
 *
 * Memory: where a CUDA driver is open or DATAFLEX_LIBCUDA names one (a fake, the interpreter's
 * or NVIDIA's), addresses are the device's and are copied through the host on the caller's
 * stream and context; otherwise they are host memory. So several ranks may share one GPU,
 * which NCCL refuses.
 *
 * FAKENCCL_ORDER=rank (default), reverse, ring: the order in which ranks are added; ring starts
 * at another rank for every 64 elements, as a real ring does for every chunk.
 * FAKENCCL_LOG=FILE: a line per call. FAKENCCL_VERSION: what it says it is, 21400.
 *
 *   gcc -std=gnu11 -O2 -shared -fPIC -fvisibility=hidden -pthread -o libnccl.so.2 hub.c comm.c -ldl
 */
#ifndef FAKENCCL_H
#define FAKENCCL_H

#include "../../../../third_party/nccl/nccl.h"

enum kind { REDUCESCATTER = 1, ALLGATHER, BROADCAST, SEND, RECV, FINALIZE, KINDS };
static const char *const kind_name[KINDS] = {"", "ncclReduceScatter", "ncclAllGather", "ncclBroadcast", "ncclSend", "ncclRecv", "ncclCommFinalize"};

/* what a rank tells the hub of a call; its data follow */
struct head {
	uint32_t kind, type;
	int32_t peer; /* root of a broadcast, the other one of a send or receive */
	uint32_t pad;
	uint64_t count; /* elements, as the call has it */
	uint64_t bytes; /* of data that follow */
};

/* what a rank says first */
struct hello {
	uint64_t token;
	int32_t ranks, rank;
};

/* what the hub answers: status 0 and bytes of data, or a complaint of that many bytes */
struct answer {
	uint32_t status, pad;
	uint64_t bytes;
};

/* what an ncclUniqueId holds */
struct id {
	uint64_t token;
	uint16_t port, pad[3];
};

static inline size_t width(uint32_t type) { return type == ncclUint8 ? 1 : type == ncclFloat32 ? 4 : 0; }

int fake_get(int fd, void *buf, size_t n);       /* -1: the other side has gone */
int fake_put(int fd, const void *buf, size_t n);
int fake_hub(struct id *id);                     /* starts a hub; -1 without one */

#endif
