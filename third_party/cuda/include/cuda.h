/*
 * cuda.h - the part of the CUDA driver API that this project and
 * gorgonia.org/cu v0.9.6 call, so that both build with no CUDA toolkit.
 *
 * This is not NVIDIA's header. It is written by hand and holds only facts of the
 * driver's binary interface (symbol names, argument types, structure layouts,
 * enumeration values) at the CUDA 12 revision, which every driver from R525 on
 * serves and drivers for CUDA 13 still export. The functions are declared in
 * cuda_api.h, generated from api.def; shim.c forwards them to libcuda.so.1 at
 * run time, so nothing here makes a program depend on that library.
 *
 * gorgonia.org/cu compiles with -std=c99 and expects malloc and free from here.
 */
#ifndef DATAFLEX_CUDA_H
#define DATAFLEX_CUDA_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define CUDA_VERSION 12000

#include "cuda_types.h"
#include "cuda_api.h"

#endif
