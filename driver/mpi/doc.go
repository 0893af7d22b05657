// Package mpi connects processes on CPUs through the MPI of the machine, found at run time.
//
// Open looks for what DATAFLEX_MPI names; without it for the plugin libdataflex-mpi.so, which
// make mpi builds with the user's mpicc, beside the program and where the loader looks, and
// then for libmpi_abi.so, the standard interface of MPI 5.0 (MPICH 5, Intel MPI), for which
// nothing needs to be built. There is no transport of our own.
//
// One thread of the program calls MPI (MPI_THREAD_FUNNELED is all that is asked for), and
// never waits inside it: calls are started and tested, so that a context ends them and idle
// ranks leave the processor to others. Before each call the ranks tell each other which it
// is: whoever does something else, has left or does not come is named, where MPI would hang
// or mix the data up.
//
// Data lie in host memory; memory of other devices is copied through it. It needs cgo: without
// it Open answers with an error that says so.
package mpi

// Want is this process's place in the job, as the launcher gave it.
type Want struct{ Rank, Size int }
