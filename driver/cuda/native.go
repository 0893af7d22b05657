//go:build cuda && cgo && linux

package cuda

/*
#cgo CFLAGS: -std=gnu11 -Wall -Wextra -I${SRCDIR}/../../third_party/cuda/include
#cgo noescape launch
#cgo nocallback launch
#cgo noescape encode_tiled
#cgo nocallback encode_tiled

#include <string.h>
#include <cuda.h>

// The layout of driver.Span in memory.
struct span { ptrdiff_t offset, size; };

// launch makes the context current on the calling thread and launches, in one C call. The
// driver copies the parameters before it returns, so they may be in Go memory; the list of
// their addresses is built here because Go memory passed to C may not contain Go pointers.
static CUresult launch(CUcontext ctx, CUfunction fn, unsigned int gx, unsigned int gy, unsigned int gz,
	unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared, CUstream stream,
	char *packed, const struct span *spans, int n)
{
	void *params[n + 1];
	for (int i = 0; i < n; i++)
		params[i] = packed + spans[i].offset;
	CUresult e = cuCtxSetCurrent(ctx);
	if (e != CUDA_SUCCESS)
		return e;
	return cuLaunchKernel(fn, gx, gy, gz, bx, by, bz, shared, stream, params, NULL);
}

// encode_tiled writes the 128 bytes of a tensor map to out, which need not have the 64-byte
// alignment that the driver requires.
static CUresult encode_tiled(CUcontext ctx, void *out, CUtensorMapDataType type, int rank, CUdeviceptr addr,
	const cuuint64_t *dims, const cuuint64_t *strides, const cuuint32_t *box, CUtensorMapSwizzle swizzle)
{
	static const cuuint32_t ones[5] = {1, 1, 1, 1, 1};
	CUtensorMap map;
	CUresult e = cuCtxSetCurrent(ctx);
	if (e != CUDA_SUCCESS)
		return e;
	e = cuTensorMapEncodeTiled(&map, type, rank, (void *)addr, dims, strides, box, ones,
		CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
		CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
	if (e == CUDA_SUCCESS)
		memcpy(out, &map, sizeof map);
	return e;
}
*/
import "C"

import (
	"unsafe"

	"gorgonia.org/cu"

	"dataflex.dev/dataflex/driver"
)

// Built reports whether this program includes the CUDA driver.
const Built = true

// The handles of gorgonia.org/cu are structures of one C pointer without accessors; these
// lines compile only while that is true.
var (
	_ [unsafe.Sizeof(uintptr(0))]struct{}      = [unsafe.Sizeof(cu.CUContext{})]struct{}{}
	_ [unsafe.Sizeof(uintptr(0))]struct{}      = [unsafe.Sizeof(cu.Function{})]struct{}{}
	_ [unsafe.Sizeof(uintptr(0))]struct{}      = [unsafe.Sizeof(cu.Stream{})]struct{}{}
	_ [unsafe.Sizeof(C.struct_span{})]struct{} = [unsafe.Sizeof(driver.Span{})]struct{}{}
)

func contextHandle(c cu.CUContext) C.CUcontext  { return *(*C.CUcontext)(unsafe.Pointer(&c)) }
func functionHandle(f cu.Function) C.CUfunction { return *(*C.CUfunction)(unsafe.Pointer(&f)) }
func streamHandle(s cu.Stream) C.CUstream       { return *(*C.CUstream)(unsafe.Pointer(&s)) }

// nativeLaunch is cuLaunchKernel.
func nativeLaunch(ctx cu.CUContext, fn cu.Function, grid, block driver.Dim, shared int, s cu.Stream, a *driver.Args) int {
	spans := a.Spans()
	return int(C.launch(contextHandle(ctx), functionHandle(fn),
		C.uint(grid.X), C.uint(grid.Y), C.uint(grid.Z), C.uint(block.X), C.uint(block.Y), C.uint(block.Z),
		C.uint(shared), streamHandle(s),
		(*C.char)(unsafe.Pointer(unsafe.SliceData(a.Packed()))),
		(*C.struct_span)(unsafe.Pointer(unsafe.SliceData(spans))), C.int(len(spans))))
}

// nativeTensorMap is cuTensorMapEncodeTiled.
func nativeTensorMap(ctx cu.CUContext, t driver.TensorMap, out *driver.EncodedTensorMap) int {
	var strides [5]C.cuuint64_t
	for i, s := range t.Strides {
		strides[i] = C.cuuint64_t(s)
	}
	return int(C.encode_tiled(contextHandle(ctx), unsafe.Pointer(out), tensorType(t.Type), C.int(len(t.Dims)),
		C.CUdeviceptr(t.Addr), (*C.cuuint64_t)(unsafe.SliceData(t.Dims)), &strides[0],
		(*C.cuuint32_t)(unsafe.SliceData(t.Box)), tensorSwizzle(t.Swizzle)))
}

func tensorType(t driver.TensorType) C.CUtensorMapDataType {
	switch t {
	case driver.TensorU8:
		return C.CU_TENSOR_MAP_DATA_TYPE_UINT8
	case driver.TensorBF16:
		return C.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
	case driver.TensorF16:
		return C.CU_TENSOR_MAP_DATA_TYPE_FLOAT16
	case driver.TensorI32:
		return C.CU_TENSOR_MAP_DATA_TYPE_INT32
	}
	return C.CU_TENSOR_MAP_DATA_TYPE_FLOAT32
}

func tensorSwizzle(bytes int) C.CUtensorMapSwizzle {
	switch bytes {
	case 32:
		return C.CU_TENSOR_MAP_SWIZZLE_32B
	case 64:
		return C.CU_TENSOR_MAP_SWIZZLE_64B
	case 128:
		return C.CU_TENSOR_MAP_SWIZZLE_128B
	}
	return C.CU_TENSOR_MAP_SWIZZLE_NONE
}

// nativeMaxDynamicShared lets fn use n bytes of dynamic shared memory. The context
// must be current.
func nativeMaxDynamicShared(fn cu.Function, n int) int {
	return int(C.cuFuncSetAttribute(functionHandle(fn), C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(n)))
}

// nativeHostAlloc returns n bytes of pinned memory. The context must be current.
func nativeHostAlloc(n int) ([]byte, int) {
	var p unsafe.Pointer
	code := int(C.cuMemHostAlloc(&p, C.size_t(n), 0))
	if code != 0 {
		return nil, code
	}
	return unsafe.Slice((*byte)(p), n), 0
}

// execGraph is an instantiated graph.
type execGraph struct{ exec C.CUgraphExec }

func nativeBeginCapture(s cu.Stream) int {
	return int(C.cuStreamBeginCapture(streamHandle(s), C.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
}

// nativeAbandonCapture ends a capture whose recording failed and discards it.
func nativeAbandonCapture(s cu.Stream) {
	var g C.CUgraph
	if C.cuStreamEndCapture(streamHandle(s), &g) == C.CUDA_SUCCESS && g != nil {
		C.cuGraphDestroy(g)
	}
}

// nativeEndCapture ends a capture and makes the recorded work executable; it returns the
// name of the call that failed.
func nativeEndCapture(s cu.Stream) (execGraph, string, int) {
	var g C.CUgraph
	var x execGraph
	if code := C.cuStreamEndCapture(streamHandle(s), &g); code != C.CUDA_SUCCESS {
		return x, "cuStreamEndCapture", int(code)
	}
	code := C.cuGraphInstantiateWithFlags(&x.exec, g, 0)
	if destroyed := C.cuGraphDestroy(g); code == C.CUDA_SUCCESS && destroyed != C.CUDA_SUCCESS {
		return x, "cuGraphDestroy", int(destroyed)
	}
	return x, "cuGraphInstantiateWithFlags", int(code)
}

func (x execGraph) launch(s cu.Stream) int { return int(C.cuGraphLaunch(x.exec, streamHandle(s))) }

func (x execGraph) destroy() int { return int(C.cuGraphExecDestroy(x.exec)) }

// nativeDescribe is the driver's name and description of a result.
func nativeDescribe(code int) (name, text string) {
	var s *C.char
	name, text = "CUDA_ERROR", "no description"
	if C.cuGetErrorName(C.CUresult(code), &s) == C.CUDA_SUCCESS && s != nil {
		name = C.GoString(s)
	}
	if C.cuGetErrorString(C.CUresult(code), &s) == C.CUDA_SUCCESS && s != nil {
		text = C.GoString(s)
	}
	return name, text
}
