/*
 * nccl.h - the part of NCCL's C interface that data-parallel training needs, written by hand
 * from facts of its binary interface (names, argument types, values of enumerations), so that
 * a program builds without NVIDIA's header and without CUDA's.
 *
 * abicheck/check.c holds it against NVIDIA's own header. The interface has been stable since
 * 2.14 (2022): every libnccl.so.2 since exports these names.
 */
#ifndef DATAFLEX_NCCL_H
#define DATAFLEX_NCCL_H

#include <stddef.h>
#include <stdint.h>

#ifdef DATAFLEX_NCCL_ABI_CHECK /* abicheck/check.c brings the vendor's own types */
typedef ncclConfig_t dataflex_any_config;
#else
typedef void dataflex_any_config;
typedef struct ncclComm *ncclComm_t;
typedef struct CUstream_st *cudaStream_t;

typedef struct {
	char internal[128];
} ncclUniqueId;

typedef enum {
	ncclSuccess = 0,
	ncclUnhandledCudaError = 1,
	ncclSystemError = 2,
	ncclInternalError = 3,
	ncclInvalidArgument = 4,
	ncclInvalidUsage = 5,
	ncclRemoteError = 6,
	ncclInProgress = 7,
} ncclResult_t;

typedef enum { ncclSum = 0 } ncclRedOp_t;

typedef enum { ncclUint8 = 1, ncclFloat32 = 7 } ncclDataType_t;
#endif

/* What ncclConfig_t was in 2.14: the structure names its size and version and only grows at
 * its end, so that every later library takes this one and fills in the rest. */
struct dataflex_nccl_config {
	size_t size;
	unsigned int magic;   /* 0xcafebeef */
	unsigned int version; /* 21400 */
	int blocking;         /* 0: calls answer ncclInProgress, and can be given up */
};
#define DATAFLEX_NCCL_MAGIC 0xcafebeefu
#define DATAFLEX_NCCL_VERSION 21400u

/* F(name, parameters, arguments) */
#define DATAFLEX_NCCL_CALLS(F) \
	F(ncclGetVersion, (int *version), (version)) \
	F(ncclGetUniqueId, (ncclUniqueId * id), (id)) \
	F(ncclCommInitRankConfig, (ncclComm_t * comm, int n, ncclUniqueId id, int rank, dataflex_any_config *config), (comm, n, id, rank, config)) \
	F(ncclCommFinalize, (ncclComm_t comm), (comm)) \
	F(ncclCommDestroy, (ncclComm_t comm), (comm)) \
	F(ncclCommAbort, (ncclComm_t comm), (comm)) \
	F(ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t * e), (comm, e)) \
	F(ncclReduceScatter, (const void *in, void *out, size_t n, ncclDataType_t t, ncclRedOp_t op, ncclComm_t comm, cudaStream_t s), (in, out, n, t, op, comm, s)) \
	F(ncclAllGather, (const void *in, void *out, size_t n, ncclDataType_t t, ncclComm_t comm, cudaStream_t s), (in, out, n, t, comm, s)) \
	F(ncclBroadcast, (const void *in, void *out, size_t n, ncclDataType_t t, int root, ncclComm_t comm, cudaStream_t s), (in, out, n, t, root, comm, s)) \
	F(ncclSend, (const void *in, size_t n, ncclDataType_t t, int peer, ncclComm_t comm, cudaStream_t s), (in, n, t, peer, comm, s)) \
	F(ncclRecv, (void *out, size_t n, ncclDataType_t t, int peer, ncclComm_t comm, cudaStream_t s), (out, n, t, peer, comm, s)) \
	F(ncclGroupStart, (void), ()) \
	F(ncclGroupEnd, (void), ())

#endif
