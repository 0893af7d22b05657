/*
 * mpi.c - the MPI of this machine, for DataFlex: make mpi, or
 *   mpicc -O2 -shared -fPIC -o libdataflex-mpi.so mpi.c
 * and put it beside the program, or name it in DATAFLEX_MPI.
 */
#include <mpi.h>

#include "../engine.h"

#include "../body.h"

const struct dataflex_mpi *dataflex_mpi_2(void) { return &body; }
