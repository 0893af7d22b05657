//go:build cuda && cgo && linux

/*
 * shim.c - forwards the CUDA driver API to libcuda.so.1, found at run time.
 *
 * The library is opened at the first call of anything but cuInit. cuInit itself
 * succeeds and does nothing: gorgonia.org/cu calls it while the program starts and
 * ends the program where it fails. The real one runs when the library is opened.
 *
 * Symbols are looked up with dlsym under the exact names of api.def, never through
 * cuGetProcAddress: CUDA 13 gave some base names a new revision there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <cuda.h>
#include "shim.h"

/* symbol numbers */
#define LOOKUP(sym) SYM_##sym,
#define FORWARD(name, sym, params, args) SYM_##sym,
enum {
#include "forward.h"
	SYMBOLS
};
#undef LOOKUP
#undef FORWARD

/* symbol names */
#define LOOKUP(sym) #sym,
#define FORWARD(name, sym, params, args) #sym,
static const char *const symbol_name[SYMBOLS] = {
#include "forward.h"
};
#undef LOOKUP
#undef FORWARD

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void *symbol[SYMBOLS]; /* NULL: the library lacks it */
static CUresult status;       /* what every call answers while it is not CUDA_SUCCESS */
static char why[512];
static char path[256];

/* open_library tries the places a driver installs itself in; NULL sets why. */
static void *open_library(void)
{
	static const char *const places[] = {
		"libcuda.so.1",                         /* the loader's own search */
		"/usr/lib/wsl/lib/libcuda.so.1",        /* WSL 2 */
		"/usr/local/nvidia/lib64/libcuda.so.1", /* containers */
		"/run/opengl-driver/lib/libcuda.so.1",  /* NixOS */
	};
	const char *only = getenv("DATAFLEX_LIBCUDA");
	size_t n = only != NULL && *only != 0 ? 1 : sizeof places / sizeof *places;
	for (size_t i = 0; i < n; i++) {
		const char *name = n == 1 ? only : places[i];
		void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
		if (lib != NULL) {
			why[0] = 0;
			snprintf(path, sizeof path, "%s", name);
			return lib;
		}
		if (i == 0) /* the message that names the library, not a folder few have */
			snprintf(why, sizeof why, "%s", dlerror());
	}
	return NULL;
}

static void load(void)
{
	void *lib = open_library();
	if (lib == NULL) {
		status = CUDA_ERROR_NO_DEVICE;
		return;
	}
	for (int i = 0; i < SYMBOLS; i++)
		symbol[i] = dlsym(lib, symbol_name[i]);
	if (symbol[SYM_cuInit] == NULL) {
		status = CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND;
		snprintf(why, sizeof why, "%s is not the NVIDIA driver: it has no cuInit", path);
		return;
	}
	status = ((CUresult (*)(unsigned int))symbol[SYM_cuInit])(0);
	if (status != CUDA_SUCCESS)
		snprintf(why, sizeof why, "%s: cuInit answers error %d", path, (int)status);
}

/* ready opens the library if need be and says whether symbol i can be called. */
static CUresult ready(int i)
{
	pthread_once(&once, load);
	if (status != CUDA_SUCCESS)
		return status;
	return symbol[i] == NULL ? CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND : CUDA_SUCCESS;
}

/* the forwards */
#define LOOKUP(sym)
#define FORWARD(name, sym, params, args)                             \
	CUresult name params                                         \
	{                                                            \
		CUresult e = ready(SYM_##sym);                       \
		if (e != CUDA_SUCCESS)                               \
			return e;                                    \
		return ((CUresult (*) params)symbol[SYM_##sym])args; \
	}
#include "forward.h"

CUresult cuInit(unsigned int flags)
{
	(void)flags;
	return CUDA_SUCCESS;
}

/* The real one needs no cuInit: it tells a driver without a GPU from no driver. */
CUresult cuDriverGetVersion(int *version)
{
	*version = 0;
	(void)ready(SYM_cuDriverGetVersion);
	if (symbol[SYM_cuDriverGetVersion] == NULL)
		return status != CUDA_SUCCESS ? status : CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND;
	return ((CUresult (*)(int *))symbol[SYM_cuDriverGetVersion])(version);
}

/* describe asks the driver for an error's name or text; without one it answers
 * for the two codes that the shim itself gives. */
static CUresult describe(int i, CUresult error, const char **str, const char *no_device, const char *no_symbol)
{
	(void)ready(i);
	if (symbol[i] != NULL)
		return ((CUresult (*)(CUresult, const char **))symbol[i])(error, str);
	*str = error == CUDA_ERROR_NO_DEVICE ? no_device
	     : error == CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND ? no_symbol : NULL;
	return *str != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorName(CUresult error, const char **str)
{
	return describe(SYM_cuGetErrorName, error, str, "CUDA_ERROR_NO_DEVICE",
		"CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND");
}

CUresult cuGetErrorString(CUresult error, const char **str)
{
	return describe(SYM_cuGetErrorString, error, str, "no CUDA-capable device is detected",
		"shared object symbol not found");
}

const char *dataflex_cuda_why(void)
{
	(void)ready(SYM_cuInit);
	return why;
}

const char *dataflex_cuda_path(void)
{
	(void)ready(SYM_cuInit);
	return path;
}
