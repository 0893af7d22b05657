//go:build simcuda && cgo && linux

package main

// #include <stdlib.h>
// #include <string.h>
import "C"

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
)

// The JIT compiler options that are supported.
const (
	errorLog     = 5
	errorLogSize = 6
)

//export cuModuleLoadDataEx
func cuModuleLoadDataEx(m *unsafe.Pointer, image *C.char, n C.uint, options *C.int, values *unsafe.Pointer) C.int {
	module, err := gpu.LoadModule("ptx", []byte(C.GoString(image)))
	if err == nil {
		*m = add(&modules, module)
		return success
	}
	var log unsafe.Pointer
	size := 0
	for i, o := range unsafe.Slice(options, int(n)) {
		switch v := unsafe.Slice(values, int(n))[i]; o {
		case errorLog:
			log = v
		case errorLogSize:
			size = int(uintptr(v)) & 0xffffffff
		}
	}
	if log != nil && size > 0 {
		text := bytes(log, C.size_t(size))
		text[copy(text[:size-1], "ptxas would say: line "+err.Error())] = 0
	}
	return invalidPTX
}

//export cuModuleUnload
func cuModuleUnload(m uintptr) C.int { return answer((*get(modules, m)).Unload()) }

//export cuModuleGetFunction
func cuModuleGetFunction(f *unsafe.Pointer, m uintptr, name *C.char) C.int {
	fn, err := (*get(modules, m)).Function(C.GoString(name))
	if err != nil {
		return notFound
	}
	*f = add(&functions, fn)
	return success
}

//export cuFuncGetAttribute
func cuFuncGetAttribute(v *C.int, a C.int, f uintptr) C.int {
	attr := (*get(functions, f)).Attributes()
	switch a {
	case 0:
		*v = C.int(attr.MaxThreads)
	case 1:
		*v = C.int(attr.SharedBytes)
	case 3:
		*v = C.int(attr.LocalBytes)
	case 4:
		*v = 32
	case 8:
		*v = 48 << 10
	default:
		return invalidValue
	}
	return success
}

//export cuFuncSetAttribute
func cuFuncSetAttribute(f uintptr, a, v C.int) C.int { return success }

//export cuLaunchKernel
func cuLaunchKernel(f uintptr, gx, gy, gz, bx, by, bz, shared C.uint, s unsafe.Pointer, params *unsafe.Pointer, extra unsafe.Pointer) C.int {
	fn := (*get(functions, f)).(*sim.Function)
	args := &driver.Args{}
	spans := fn.Params()
	for i, p := range unsafe.Slice(params, len(spans)) {
		args.Bytes(bytes(p, C.size_t(spans[i].Size)), alignment(spans[i]))
	}
	c := driver.Config{
		Grid: driver.Dim{X: int(gx), Y: int(gy), Z: int(gz)}, Block: driver.Dim{X: int(bx), Y: int(by), Z: int(bz)}, Shared: int(shared),
	}
	return queue(func() C.int {
		if err := gpu.Launch(fn, c, args); err != nil {
			fmt.Fprintln(os.Stderr, "simcuda:", err)
			spoiled = launchFailed
			if strings.Contains(err.Error(), "illegal address") {
				spoiled = illegalAddress
			}
		}
		return success // an error in a kernel is returned by a later call
	})
}

// alignment is an alignment consistent with the parameter's offset: the largest power of two
// that divides it.
func alignment(s driver.Span) int {
	if s.Offset == 0 {
		return 64
	}
	return s.Offset & -s.Offset
}

// The driver's numbers of element types.
var tensorTypes = map[C.int]driver.TensorType{0: driver.TensorU8, 3: driver.TensorI32, 6: driver.TensorF16, 7: driver.TensorF32, 9: driver.TensorBF16}

//export cuTensorMapEncodeTiled
func cuTensorMapEncodeTiled(out unsafe.Pointer, typ C.int, rank C.uint, addr C.ulonglong, dims, strides *C.ulonglong, box, steps *C.uint, interleave, swizzle, promotion, fill C.int) C.int {
	t := driver.TensorMap{Type: tensorTypes[typ], Addr: uintptr(addr), Swizzle: []int{0, 32, 64, 128}[swizzle]}
	for i := range int(rank) {
		t.Dims = append(t.Dims, uint64(unsafe.Slice(dims, int(rank))[i]))
		t.Box = append(t.Box, uint32(unsafe.Slice(box, int(rank))[i]))
		if i > 0 {
			t.Strides = append(t.Strides, uint64(unsafe.Slice(strides, int(rank)-1)[i-1]))
		}
	}
	m, err := gpu.EncodeTensorMap(t)
	if err != nil {
		return answer(err)
	}
	copy(bytes(out, C.size_t(len(m))), m[:])
	return success
}

//export cuStreamBeginCapture_v2
func cuStreamBeginCapture_v2(s unsafe.Pointer, mode C.int) C.int {
	capture = new([]func() C.int)
	return success
}

//export cuStreamEndCapture
func cuStreamEndCapture(s unsafe.Pointer, g *unsafe.Pointer) C.int {
	*g = add(&graphs, *capture)
	capture = nil
	return success
}

//export cuGraphInstantiateWithFlags
func cuGraphInstantiateWithFlags(x *unsafe.Pointer, g unsafe.Pointer, flags C.ulonglong) C.int {
	*x = g
	return success
}

//export cuGraphLaunch
func cuGraphLaunch(x uintptr, s unsafe.Pointer) C.int {
	for _, work := range *get(graphs, x) {
		if e := queue(work); e != success {
			return e
		}
	}
	return success
}

//export cuGraphDestroy
func cuGraphDestroy(g unsafe.Pointer) C.int { return success }

//export cuGraphExecDestroy
func cuGraphExecDestroy(x unsafe.Pointer) C.int { return success }
