//go:build simcuda && cgo && linux

package main

// #include <stdlib.h>
// #include <string.h>
// #include <stdint.h>
// typedef const char *text;
import "C"

import (
	"fmt"
	"os"
	"strconv"
	"time"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
)

// Results of the driver API.
const (
	success        = 0
	invalidValue   = 1
	outOfMemory    = 2
	invalidPTX     = 218
	notFound       = 500
	illegalAddress = 700
	launchFailed   = 719
)

// The one GPU. Handles are places in these lists, from 1.
var (
	gpu       = sim.New(sim.Options{Unwritten: true, Capability: setting("SIMCUDA_CAPABILITY", 90)})
	spoiled   C.int
	memory    = map[uint64]driver.Memory{}
	modules   []driver.Module
	functions []driver.Function
	events    []time.Time
	graphs    [][]func() C.int
	capture   *[]func() C.int // what is queued while a graph is recorded
)

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func handle(n int) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&n)) }

func add[T any](list *[]T, v T) unsafe.Pointer {
	*list = append(*list, v)
	return handle(len(*list))
}

func get[T any](list []T, h uintptr) *T { return &list[h-1] }

// queue does work now, or keeps it for the graph that is recorded.
func queue(work func() C.int) C.int {
	if spoiled != success {
		return spoiled
	}
	if capture != nil {
		*capture = append(*capture, work)
		return success
	}
	return work()
}

//export cuInit
func cuInit(C.uint) C.int { return success }

//export cuDriverGetVersion
func cuDriverGetVersion(v *C.int) C.int { *v = 13000; return success }

//export cuDeviceGetCount
func cuDeviceGetCount(n *C.int) C.int { *n = C.int(setting("SIMCUDA_DEVICES", 1)); return success }

//export cuDeviceGet
func cuDeviceGet(d *C.int, i C.int) C.int { *d = i; return success }

//export cuDeviceGetName
func cuDeviceGetName(s *C.char, n, d C.int) C.int {
	name := C.CString("PTX interpreter")
	defer C.free(unsafe.Pointer(name))
	C.strncpy(s, name, C.size_t(n))
	return success
}

//export cuDeviceTotalMem_v2
func cuDeviceTotalMem_v2(n *C.size_t, d C.int) C.int { *n = 4 << 30; return success }

//export cuDeviceGetAttribute
func cuDeviceGetAttribute(v *C.int, a, d C.int) C.int {
	capability := gpu.Attributes().Capability
	shared := 163 << 10
	if capability >= 90 {
		shared = 227 << 10
	}
	clusters := 0
	if gpu.Attributes().Clusters {
		clusters = 1
	}
	facts := map[C.int]int{
		13: 1000000, 16: 1, 32: 0, 36: 1000000, 37: 64, 38: 1 << 20, 39: 2048,
		75: capability / 10, 76: capability % 10, 81: 233472, 82: 65536, 97: shared, 120: clusters,
	}
	f, ok := facts[a]
	if !ok {
		return invalidValue
	}
	*v = C.int(f)
	return success
}

//export cuDevicePrimaryCtxRetain
func cuDevicePrimaryCtxRetain(c *unsafe.Pointer, d C.int) C.int { *c = handle(1); return success }

//export cuDevicePrimaryCtxRelease_v2
func cuDevicePrimaryCtxRelease_v2(d C.int) C.int { return success }

//export cuCtxSetCurrent
func cuCtxSetCurrent(c unsafe.Pointer) C.int { return success }

//export cuCtxSynchronize
func cuCtxSynchronize() C.int { return spoiled }

var texts = map[C.int]C.text{
	invalidValue: C.text(C.CString("CUDA_ERROR_INVALID_VALUE")), outOfMemory: C.text(C.CString("CUDA_ERROR_OUT_OF_MEMORY")),
	invalidPTX: C.text(C.CString("CUDA_ERROR_INVALID_PTX")), notFound: C.text(C.CString("CUDA_ERROR_NOT_FOUND")),
	illegalAddress: C.text(C.CString("CUDA_ERROR_ILLEGAL_ADDRESS")), launchFailed: C.text(C.CString("CUDA_ERROR_LAUNCH_FAILED")),
}

//export cuGetErrorName
func cuGetErrorName(e C.int, s *C.text) C.int {
	t, ok := texts[e]
	if !ok {
		return invalidValue
	}
	*s = t
	return success
}

//export cuGetErrorString
func cuGetErrorString(e C.int, s *C.text) C.int { return cuGetErrorName(e, s) }

//export cuMemGetInfo_v2
func cuMemGetInfo_v2(free, total *C.size_t) C.int {
	*total = 4 << 30
	*free = *total - C.size_t(gpu.Used())
	return success
}

//export cuMemAlloc_v2
func cuMemAlloc_v2(p *C.ulonglong, n C.size_t) C.int {
	if gpu.Used()+uint64(n) > 4<<30 {
		return outOfMemory
	}
	m, err := gpu.Alloc(int(n))
	if err != nil {
		return outOfMemory
	}
	*p = C.ulonglong(m.Addr())
	memory[uint64(*p)] = m
	return spoiled
}

//export cuMemFree_v2
func cuMemFree_v2(p C.ulonglong) C.int {
	m, ok := memory[uint64(p)]
	if !ok {
		return invalidValue
	}
	gpu.Free(m)
	delete(memory, uint64(p))
	return spoiled
}

//export cuMemHostAlloc
func cuMemHostAlloc(p *unsafe.Pointer, n C.size_t, flags C.uint) C.int {
	*p = C.malloc(n)
	return success
}

//export cuMemFreeHost
func cuMemFreeHost(p unsafe.Pointer) C.int { C.free(p); return success }

//export cuStreamCreate
func cuStreamCreate(s *unsafe.Pointer, flags C.uint) C.int { *s = handle(1); return success }

//export cuStreamDestroy_v2
func cuStreamDestroy_v2(s unsafe.Pointer) C.int { return success }

//export cuStreamSynchronize
func cuStreamSynchronize(s unsafe.Pointer) C.int { return spoiled }

//export cuStreamQuery
func cuStreamQuery(s unsafe.Pointer) C.int { return spoiled }

//export cuStreamWaitEvent
func cuStreamWaitEvent(s, e unsafe.Pointer, flags C.uint) C.int { return spoiled }

//export cuEventCreate
func cuEventCreate(e *unsafe.Pointer, flags C.uint) C.int {
	*e = add(&events, time.Time{})
	return success
}

//export cuEventDestroy_v2
func cuEventDestroy_v2(e unsafe.Pointer) C.int { return success }

//export cuEventRecord
func cuEventRecord(e uintptr, s unsafe.Pointer) C.int {
	*get(events, e) = time.Now()
	return spoiled
}

//export cuEventSynchronize
func cuEventSynchronize(e uintptr) C.int { return spoiled }

//export cuEventElapsedTime
func cuEventElapsedTime(ms *C.float, from, to uintptr) C.int {
	*ms = C.float(get(events, to).Sub(*get(events, from)).Seconds() * 1e3)
	return spoiled
}

func bytes(p unsafe.Pointer, n C.size_t) []byte { return unsafe.Slice((*byte)(p), int(n)) }

// answer is a copy's result; copies out of bounds are for reading.
func answer(err error) C.int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "simcuda:", err)
		return invalidValue
	}
	return success
}

//export cuMemsetD32Async
func cuMemsetD32Async(p C.ulonglong, v C.uint, n C.size_t, s unsafe.Pointer) C.int {
	return queue(func() C.int {
		words := make([]C.uint, int(n))
		for i := range words {
			words[i] = v
		}
		b := bytes(unsafe.Pointer(unsafe.SliceData(words)), 4*n)
		return answer(gpu.CopyIn(driver.DeviceMemory(uintptr(p), len(b)), b))
	})
}

//export cuMemcpyHtoDAsync_v2
func cuMemcpyHtoDAsync_v2(dst C.ulonglong, src unsafe.Pointer, n C.size_t, s unsafe.Pointer) C.int {
	return queue(func() C.int { return answer(gpu.CopyIn(driver.DeviceMemory(uintptr(dst), int(n)), bytes(src, n))) })
}

//export cuMemcpyDtoHAsync_v2
func cuMemcpyDtoHAsync_v2(dst unsafe.Pointer, src C.ulonglong, n C.size_t, s unsafe.Pointer) C.int {
	return queue(func() C.int { return answer(gpu.CopyOut(bytes(dst, n), driver.DeviceMemory(uintptr(src), int(n)))) })
}

//export cuMemcpyDtoDAsync_v2
func cuMemcpyDtoDAsync_v2(dst, src C.ulonglong, n C.size_t, s unsafe.Pointer) C.int {
	return queue(func() C.int {
		return answer(gpu.Copy(driver.DeviceMemory(uintptr(dst), int(n)), driver.DeviceMemory(uintptr(src), int(n))))
	})
}
