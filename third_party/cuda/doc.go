// Package cuda stands in for what a machine may lack: the CUDA toolkit's header
// and the NVIDIA driver's library.
//
// include/cuda.h is our own declaration of the driver API; gorgonia.org/cu
// compiles against it unmodified. shim.c forwards every call to libcuda.so.1,
// which it opens at the first call, by exact symbol name: a program linked with it
// needs no driver to start and touches no GPU before it asks for one. Without a
// driver every call answers CUDA_ERROR_NO_DEVICE; a function that an old driver
// lacks answers CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND. lib/libcuda.a is an
// empty archive for gorgonia.org/cu's -lcuda. abi.c asserts the layouts.
//
// The C code is behind the build tag cuda, which make sets together with the flags
// that point cgo at include and lib; without the tag this package is empty.
//
// DATAFLEX_LIBCUDA=PATH in the environment names the one library to open; a path
// that opens nothing (none) switches CUDA off.
package cuda

//go:generate go run ./gen
