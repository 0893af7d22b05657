// Package mpi opens the MPI of a machine at run time: through a plugin that the user's mpicc
// compiles (plugin/mpi.c; make mpi), or as it is where it has the standard binary interface of
// MPI 5.0 (libmpi_abi.so). Building needs no MPI and no header of one.
//
// The package binds calls and decides nothing: driver/mpi does, from the one thread that MPI
// is called on. Without cgo it is empty.
package mpi
