/* shim.h - NCCL's calls, forwarded to the library that was opened. */
#ifndef DATAFLEX_NCCL_SHIM_H
#define DATAFLEX_NCCL_SHIM_H

#include "nccl.h"

int dataflex_nccl_open(const char *path); /* 0 when a library is open; the first one stays */
const char *dataflex_nccl_why(void);      /* why there is none */

/* Every call of nccl.h under the prefix dataflex_; without a library ncclSystemError. */
#define DECLARE(name, params, args) ncclResult_t dataflex_##name params;
DATAFLEX_NCCL_CALLS(DECLARE)
#undef DECLARE

const char *dataflex_nccl_text(ncclResult_t e);        /* the library's sentence for a result */
const char *dataflex_nccl_complaint(ncclComm_t comm);  /* what it last complained of, or "" */

/* The calls as Go makes them: an ID by address, memory by number. join does not block, and
 * alltoall is one send to and one receive from every rank, in a group, which every NCCL has. */
ncclResult_t dataflex_nccl_join(ncclComm_t *comm, int n, const char id[128], int rank);
ncclResult_t dataflex_nccl_alltoall(uintptr_t in, uintptr_t out, size_t each, int ranks, ncclComm_t comm, void *stream);
ncclResult_t dataflex_nccl_allgather(uintptr_t in, uintptr_t out, size_t n, int type, ncclComm_t comm, void *stream);
ncclResult_t dataflex_nccl_reduce_scatter(uintptr_t in, uintptr_t out, size_t each, ncclComm_t comm, void *stream);
ncclResult_t dataflex_nccl_broadcast(uintptr_t data, size_t bytes, int root, ncclComm_t comm, void *stream);

#endif
