// Package mpi connects processes on CPUs through the machine's MPI library, found at run
// time.
//
// Open loads the library named by DATAFLEX_MPI; without the variable it tries the plugin
// libdataflex-mpi.so, which make mpi builds with the user's mpicc, beside the program and in
// the loader's path, and then libmpi_abi.so, the standard interface of MPI 5.0 (MPICH 5,
// Intel MPI), for which nothing needs to be built. There is no transport of our own.
//
// One thread of the program calls MPI (only MPI_THREAD_FUNNELED is required), and never
// blocks inside it: calls are started and tested, so that a context can end them and idle
// ranks leave the processor to others. Before each call the ranks tell each other which call
// it is: a rank that makes another call, has left or does not call is named, where MPI would
// hang or mix up the data.
//
// Data are in host memory; memory of other devices is copied through it. The package needs
// cgo: without cgo Open returns an error that says so.
package mpi

// Want is this process's place in the job as given by the launcher.
type Want struct{ Rank, Size int }
