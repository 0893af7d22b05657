//go:build cgo && linux

/*
 * shim.c - forwards NCCL's calls to the libnccl.so.2 that dataflex_nccl_open is told to open: a
 * program linked with this needs no NCCL to build or to start.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "shim.h"

#define NUMBER(name, params, args) SYM_##name,
enum { DATAFLEX_NCCL_CALLS(NUMBER) SYM_ncclGetErrorString, SYM_ncclGetLastError, SYMBOLS };
#define NAME(name, params, args) #name,
static const char *const symbol_name[SYMBOLS] = {DATAFLEX_NCCL_CALLS(NAME) "ncclGetErrorString", "ncclGetLastError"};

static void *symbol[SYMBOLS];
static int is_open;
static char why[1024] = "no NCCL library was opened";

int dataflex_nccl_open(const char *name)
{
	if (is_open)
		return 0;
	void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (lib == NULL) {
		snprintf(why, sizeof why, "%s", dlerror());
		return -1;
	}
	for (int i = 0; i < SYMBOLS; i++)
		if ((symbol[i] = dlsym(lib, symbol_name[i])) == NULL && i != SYM_ncclGetLastError) {
			snprintf(why, sizeof why, "%s is no NCCL of 2.14 or newer: it has no %s", name, symbol_name[i]);
			dlclose(lib);
			return -1;
		}
	is_open = 1;
	return 0;
}

const char *dataflex_nccl_why(void) { return why; }

#define FORWARD(name, params, args) \
	ncclResult_t dataflex_##name params \
	{ \
		if (!is_open) \
			return ncclSystemError; \
		return ((ncclResult_t(*) params)symbol[SYM_##name])args; \
	}
DATAFLEX_NCCL_CALLS(FORWARD)

const char *dataflex_nccl_text(ncclResult_t e)
{
	return is_open ? ((const char *(*)(ncclResult_t))symbol[SYM_ncclGetErrorString])(e) : why;
}

const char *dataflex_nccl_complaint(ncclComm_t comm)
{
	if (!is_open || symbol[SYM_ncclGetLastError] == NULL)
		return "";
	return ((const char *(*)(ncclComm_t))symbol[SYM_ncclGetLastError])(comm);
}

ncclResult_t dataflex_nccl_join(ncclComm_t *comm, int n, const char id[128], int rank)
{
	struct dataflex_nccl_config config = {sizeof config, DATAFLEX_NCCL_MAGIC, DATAFLEX_NCCL_VERSION, 0};
	ncclUniqueId u;
	memcpy(&u, id, sizeof u);
	return dataflex_ncclCommInitRankConfig(comm, n, u, rank, &config);
}

/* Inside a group a communicator that does not block answers either. */
static int taken(ncclResult_t e) { return e == ncclSuccess || e == ncclInProgress; }

ncclResult_t dataflex_nccl_alltoall(uintptr_t in, uintptr_t out, size_t each, int ranks, ncclComm_t comm, void *stream)
{
	ncclResult_t e = dataflex_ncclGroupStart();
	for (int r = 0; r < ranks && taken(e); r++) {
		size_t at = (size_t)r * each * sizeof(float);
		e = dataflex_ncclSend((const void *)(in + at), each, ncclFloat32, r, comm, stream);
		if (taken(e))
			e = dataflex_ncclRecv((void *)(out + at), each, ncclFloat32, r, comm, stream);
	}
	ncclResult_t end = dataflex_ncclGroupEnd();
	return taken(e) ? end : e;
}

ncclResult_t dataflex_nccl_allgather(uintptr_t in, uintptr_t out, size_t n, int type, ncclComm_t comm, void *stream)
{
	return dataflex_ncclAllGather((const void *)in, (void *)out, n, (ncclDataType_t)type, comm, stream);
}

ncclResult_t dataflex_nccl_reduce_scatter(uintptr_t in, uintptr_t out, size_t each, ncclComm_t comm, void *stream)
{
	return dataflex_ncclReduceScatter((const void *)in, (void *)out, each, ncclFloat32, ncclSum, comm, stream);
}

ncclResult_t dataflex_nccl_broadcast(uintptr_t data, size_t bytes, int root, ncclComm_t comm, void *stream)
{
	return dataflex_ncclBroadcast((const void *)data, (void *)data, bytes, ncclUint8, root, comm, stream);
}
