/* shim.h - opening an MPI, and waiting for it without taking the processor from others. */
#ifndef DATAFLEX_MPI_SHIM_H
#define DATAFLEX_MPI_SHIM_H

#include "engine.h"

/* Open a plugin, or a library with the standard interface; NULL with the reason in why. */
const struct dataflex_mpi *dataflex_mpi_plugin(const char *path, char *why, int n);
const struct dataflex_mpi *dataflex_mpi_abi(const char *path, char *why, int n);

void *dataflex_mpi_library(const char *path, char *why, int n); /* opens it, for those two */

/* MPIs install handlers of their own for signals that Go needs: UCX takes SIGSEGV while it is
 * loaded, and a nil dereference then ends the process with UCX's backtrace. So the handlers are
 * saved before an MPI is opened, and those that changed are put back once it has started. */
void dataflex_mpi_save_handlers(void);
void dataflex_mpi_restore_handlers(void);

/* Leaves the job; e must not be used any more. MPICH 5 leaves a part of MPI_Finalize to its
 * library's destructors, which a Go program ends without; its mpiexec then kills the ranks that
 * end later. So MPICH is closed, which runs them. */
int dataflex_mpi_finalize(const struct dataflex_mpi *e);

/* wait tests for about a millisecond, pausing between tests for that many microseconds (0:
 * letting others run). It ends early when what was started has ended (done is 1) or another
 * rank has told something (from is its rank, else -1); both may be. */
int dataflex_mpi_wait(const struct dataflex_mpi *e, int pause, int32_t *done, uint8_t *arrived, int32_t *from, char *text, int bytes);

#endif
