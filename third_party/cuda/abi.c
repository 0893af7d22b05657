//go:build cuda && cgo && linux

/*
 * abi.c - fails to compile where our declarations leave the driver's binary
 * interface. The numbers are those of CUDA 12's cuda.h on a 64-bit host, as
 * documented and as printed once by a program compiled against it; they are
 * facts of the interface and change only with a symbol's suffix.
 */
#include <cuda.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " has another size")
#define AT(type, field, offset) \
	_Static_assert(offsetof(type, field) == (offset), #type "." #field " is elsewhere")

/* scalars and handles */
SIZE(CUdeviceptr, 8);
SIZE(CUdevice, 4);
SIZE(CUcontext, 8);
SIZE(CUfunction, 8);
SIZE(CUstream, 8);
SIZE(CUevent, 8);
SIZE(CUgraphExec, 8);
SIZE(CUresult, 4);
SIZE(CUdevice_attribute, 4);
SIZE(CUjit_option, 4);
SIZE(CUuuid, 16);
SIZE(CUtensorMap, 128);
_Static_assert(_Alignof(CUtensorMap) == 64, "CUtensorMap has another alignment");

/* copies and arrays */
SIZE(CUDA_MEMCPY2D, 128);
AT(CUDA_MEMCPY2D, srcMemoryType, 16);
AT(CUDA_MEMCPY2D, srcHost, 24);
AT(CUDA_MEMCPY2D, srcArray, 40);
AT(CUDA_MEMCPY2D, dstXInBytes, 56);
AT(CUDA_MEMCPY2D, dstMemoryType, 72);
AT(CUDA_MEMCPY2D, dstPitch, 104);
AT(CUDA_MEMCPY2D, Height, 120);
SIZE(CUDA_MEMCPY3D, 200);
AT(CUDA_MEMCPY3D, srcMemoryType, 32);
AT(CUDA_MEMCPY3D, reserved0, 64);
AT(CUDA_MEMCPY3D, dstXInBytes, 88);
AT(CUDA_MEMCPY3D, dstMemoryType, 120);
AT(CUDA_MEMCPY3D, reserved1, 152);
AT(CUDA_MEMCPY3D, Depth, 192);
SIZE(CUDA_MEMCPY3D_PEER, 200);
AT(CUDA_MEMCPY3D_PEER, srcContext, 64);
AT(CUDA_MEMCPY3D_PEER, dstContext, 152);
SIZE(CUDA_ARRAY_DESCRIPTOR, 24);
AT(CUDA_ARRAY_DESCRIPTOR, Format, 16);
SIZE(CUDA_ARRAY3D_DESCRIPTOR, 40);
AT(CUDA_ARRAY3D_DESCRIPTOR, Format, 24);
AT(CUDA_ARRAY3D_DESCRIPTOR, Flags, 32);

/* graph nodes */
SIZE(CUDA_KERNEL_NODE_PARAMS, 72);
AT(CUDA_KERNEL_NODE_PARAMS, sharedMemBytes, 32);
AT(CUDA_KERNEL_NODE_PARAMS, kernelParams, 40);
AT(CUDA_KERNEL_NODE_PARAMS, kern, 56);
AT(CUDA_KERNEL_NODE_PARAMS, ctx, 64);
SIZE(CUDA_MEMSET_NODE_PARAMS, 40);
AT(CUDA_MEMSET_NODE_PARAMS, elementSize, 20);
AT(CUDA_MEMSET_NODE_PARAMS, width, 24);
SIZE(CUDA_HOST_NODE_PARAMS, 16);

/* numbers that are implied by position, and those that matter most */
#define VALUE(name, value) _Static_assert((name) == (value), #name " has another value")
VALUE(CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 13);
VALUE(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16);
VALUE(CU_DEVICE_ATTRIBUTE_ECC_ENABLED, 32);
VALUE(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 36);
VALUE(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 37);
VALUE(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 38);
VALUE(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75);
VALUE(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76);
VALUE(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 81);
VALUE(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 82);
VALUE(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 97);
VALUE(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, 120);
VALUE(CU_JIT_ERROR_LOG_BUFFER, 5);
VALUE(CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, 6);
VALUE(CU_JIT_TARGET, 9);
VALUE(CU_JIT_CACHE_MODE, 14);
VALUE(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 8);
VALUE(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 7);
VALUE(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 9);
