//go:build cgo && linux

/*
 * abi.c - engine.h over the standard binary interface of MPI 5.0 (2025; chapter "Application
 * Binary Interface"): libmpi_abi.so of MPICH 5, of Intel MPI and, as announced, of Open MPI 6.
 * The values of its handles are the standard's, so nothing is compiled on the user's machine.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine.h"
#include "shim.h"

typedef void *MPI_Comm, *MPI_Datatype, *MPI_Errhandler, *MPI_Op, *MPI_Request;

typedef struct {
	int MPI_SOURCE, MPI_TAG, MPI_ERROR;
	int internal[5];
} MPI_Status;
_Static_assert(sizeof(MPI_Status) == 32, "the standard's status");

#define HANDLE(n) ((void *)(uintptr_t)(n))
#define MPI_SUM HANDLE(0x21)
#define MPI_COMM_WORLD HANDLE(0x101)
#define MPI_ERRORS_RETURN HANDLE(0x143)
#define MPI_REQUEST_NULL HANDLE(0x180)
#define MPI_FLOAT HANDLE(0x210)
#define MPI_BYTE HANDLE(0x247)
#define MPI_STATUS_IGNORE ((MPI_Status *)0)
#define MPI_STATUSES_IGNORE ((MPI_Status *)0)

enum {
	MPI_SUCCESS = 0,
	MPI_ERR_COUNT = 2,
	MPI_ERR_NO_MEM = 39,
	MPI_ANY_SOURCE = -1,
	MPI_UNDEFINED = -32766,
	MPI_THREAD_FUNNELED = 1024,
	MPI_MAX_ERROR_STRING = 512,
	MPI_MAX_LIBRARY_VERSION_STRING = 8192,
};

#define CALLS(F) \
	F(MPI_Init_thread, (int *argc, char ***argv, int want, int *given)) \
	F(MPI_Comm_set_errhandler, (MPI_Comm comm, MPI_Errhandler h)) \
	F(MPI_Comm_rank, (MPI_Comm comm, int *r)) \
	F(MPI_Comm_size, (MPI_Comm comm, int *n)) \
	F(MPI_Isend, (const void *buf, int n, MPI_Datatype t, int to, int tag, MPI_Comm comm, MPI_Request *r)) \
	F(MPI_Irecv, (void *buf, int n, MPI_Datatype t, int from, int tag, MPI_Comm comm, MPI_Request *r)) \
	F(MPI_Recv, (void *buf, int n, MPI_Datatype t, int from, int tag, MPI_Comm comm, MPI_Status *s)) \
	F(MPI_Iprobe, (int from, int tag, MPI_Comm comm, int *there, MPI_Status *s)) \
	F(MPI_Ialltoall, (const void *in, int n, MPI_Datatype t, void *out, int m, MPI_Datatype u, MPI_Comm comm, MPI_Request *r)) \
	F(MPI_Iallgather, (const void *in, int n, MPI_Datatype t, void *out, int m, MPI_Datatype u, MPI_Comm comm, MPI_Request *r)) \
	F(MPI_Iallgatherv, (const void *in, int n, MPI_Datatype t, void *out, const int *counts, const int *places, MPI_Datatype u, MPI_Comm comm, MPI_Request *r)) \
	F(MPI_Ireduce_scatter_block, (const void *in, void *out, int n, MPI_Datatype t, MPI_Op op, MPI_Comm comm, MPI_Request *r)) \
	F(MPI_Ibcast, (void *buf, int n, MPI_Datatype t, int root, MPI_Comm comm, MPI_Request *r)) \
	F(MPI_Test, (MPI_Request *r, int *done, MPI_Status *s)) \
	F(MPI_Testsome, (int n, MPI_Request *r, int *ended, int *which, MPI_Status *s)) \
	F(MPI_Testall, (int n, MPI_Request *r, int *done, MPI_Status *s)) \
	F(MPI_Finalize, (void)) \
	F(MPI_Error_string, (int code, char *text, int *n)) \
	F(MPI_Get_library_version, (char *text, int *n)) \
	F(MPI_Abi_get_version, (int *major, int *minor))

#define DECLARE(name, params) static int (*name) params;
CALLS(DECLARE)

#include "body.h"

const struct dataflex_mpi *dataflex_mpi_abi(const char *path, char *why, int n)
{
	void *lib = dataflex_mpi_library(path, why, n);
	if (lib == NULL)
		return NULL;
#define FIND(name, params) \
	if ((*(void **)&name = dlsym(lib, #name)) == NULL) { \
		snprintf(why, (size_t)n, "%s has no " #name ": it is not the standard interface of MPI 5.0", path); \
		return NULL; \
	}
	CALLS(FIND)
	int major = 0, minor = 0;
	if (MPI_Abi_get_version(&major, &minor) != MPI_SUCCESS || major != 1) {
		snprintf(why, (size_t)n, "%s has version %d.%d of MPI's binary interface, this program knows 1", path, major, minor);
		return NULL;
	}
	return &body;
}
