/*
 * check.c - compiles only where nccl.h agrees with NVIDIA's own header. It needs that header
 * (pip's nvidia-nccl-cu12) and stand-ins for CUDA's; never needed to build the program:
 *   gcc -c -std=gnu11 -Wall -Wno-unused-function -Werror=incompatible-pointer-types -Istandin \
 *       -I.../nvidia/nccl/include -DDATAFLEX_NCCL_ABI_CHECK check.c -o /dev/null
 */
#include <nccl.h> /* NVIDIA's: -I gives its folder */

#include "../nccl.h"

/* Another list of parameters is an error: the types of the pointers differ. */
#define SAME(name, params, args) \
	static ncclResult_t (*check_##name) params; \
	static void use_##name(void) { check_##name = name; (void)check_##name; }
DATAFLEX_NCCL_CALLS(SAME)

#define VALUE(name, n) _Static_assert((int)(name) == (n), #name)
VALUE(ncclSuccess, 0); VALUE(ncclUnhandledCudaError, 1); VALUE(ncclSystemError, 2); VALUE(ncclInternalError, 3);
VALUE(ncclInvalidArgument, 4); VALUE(ncclInvalidUsage, 5); VALUE(ncclRemoteError, 6); VALUE(ncclInProgress, 7);
VALUE(ncclSum, 0); VALUE(ncclUint8, 1); VALUE(ncclFloat32, 7);
_Static_assert(sizeof(ncclUniqueId) == 128, "unique id");
#define AT(field) _Static_assert(offsetof(ncclConfig_t, field) == offsetof(struct dataflex_nccl_config, field), #field)
AT(size); AT(magic); AT(version); AT(blocking);
_Static_assert(NCCL_API_MAGIC == DATAFLEX_NCCL_MAGIC, "magic number");
