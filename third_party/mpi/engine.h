/*
 * engine.h - how the program reaches the MPI of a machine. A plugin is a shared library that
 * exports dataflex_mpi_2 and is opened at run time; plugin/mpi.c is one, which the user's own
 * mpicc compiles, so that it fits whatever MPI there is. abi.c is the same for an MPI with the
 * standard binary interface of MPI 5.0, for which nothing needs to be compiled.
 *
 * All calls come from one thread and none waits: a call starts something, test says whether it
 * has ended, one thing at a time. So whoever calls can give up, and leaves the processor to
 * others meanwhile. A call returns 0 or a code that error explains. Buffers stay where they
 * are until what uses them has ended. After something was given up only tell may be called.
 */
#ifndef DATAFLEX_MPI_ENGINE_H
#define DATAFLEX_MPI_ENGINE_H

#include <stdint.h>

#define DATAFLEX_MPI_ENGINE 2 /* the version of this interface */

struct dataflex_mpi {
	int32_t version;           /* DATAFLEX_MPI_ENGINE */
	const char *(*name)(void); /* the library and its version, before init too */
	int (*init)(int32_t *rank, int32_t *size); /* the one call that waits: for the whole job */
	/* sends mine to all ranks and receives theirs, bytes of each, into all */
	int (*meet)(const void *mine, void *all, int32_t bytes);
	int (*alltoall)(const float *in, float *out, int64_t each);
	int (*allgather)(const float *in, float *out, int64_t each);
	int (*reduce_scatter)(const float *in, float *out, int64_t each); /* sums */
	int (*broadcast)(void *data, int64_t bytes, int32_t root);
	int (*gather)(const void *in, void *out, const int64_t *bytes); /* bytes[rank] of each rank, to all */
	/* done becomes 1 when what was started has ended; while it is a meet, arrived[rank] does
	 * when that rank's bytes are there */
	int (*test)(int32_t *done, uint8_t *arrived);
	/* tell sends text to all ranks, outside all calls; heard receives such a text: from is its
	 * rank, or -1 when there is none */
	int (*tell)(const void *text, int32_t bytes);
	int (*heard)(int32_t *from, void *text, int32_t bytes);
	int (*finalize)(void); /* waits for all ranks */
	const char *(*error)(int code);
};

typedef const struct dataflex_mpi *dataflex_mpi_entry(void);

#endif
