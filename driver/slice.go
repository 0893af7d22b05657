package driver

import (
	"fmt"
	"unsafe"
)

// BF16 is the upper half of a float32.
type BF16 uint16

// Element lists the types as which device memory is viewed.
type Element interface {
	float32 | BF16 | int32 | uint32 | uint8
}

// Slice is a typed window on device memory. The zero Slice is nil: kernels take it as "not
// wanted" where their contract allows it.
type Slice[T Element] struct {
	host []T
	addr uintptr
	n    int
}

// F32 and I32 are the slices that most kernels take.
type (
	F32 = Slice[float32]
	I32 = Slice[int32]
)

// View reinterprets an allocation as elements of T.
func View[T Element](m Memory) Slice[T] {
	var zero T
	n := m.n / int(unsafe.Sizeof(zero))
	if m.host != nil {
		return Slice[T]{host: unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(m.host))), n), n: n}
	}
	return Slice[T]{addr: m.addr, n: n}
}

// FromHost wraps Go memory; only devices that compute on the host accept it.
func FromHost[T Element](s []T) Slice[T] { return Slice[T]{host: s, n: len(s)} }

// Len is the number of elements.
func (s Slice[T]) Len() int { return s.n }

// IsNil reports whether s is the zero Slice.
func (s Slice[T]) IsNil() bool { return s.n == 0 && s.host == nil && s.addr == 0 }

// Addr is the device address of the first element; 0 for host memory.
func (s Slice[T]) Addr() uintptr { return s.addr }

// Sub is the window of the elements [lo, hi).
func (s Slice[T]) Sub(lo, hi int) Slice[T] {
	if lo < 0 || hi < lo || hi > s.n {
		panic(fmt.Sprintf("driver: Sub(%d, %d) of a slice of %d", lo, hi, s.n))
	}
	if s.host != nil {
		return Slice[T]{host: s.host[lo:hi:hi], n: hi - lo}
	}
	var zero T
	return Slice[T]{addr: s.addr + uintptr(lo)*unsafe.Sizeof(zero), n: hi - lo}
}

// Host is the memory itself. It panics for memory that only a device can access: a kernel
// was dispatched to its host twin by mistake.
func (s Slice[T]) Host() []T {
	if s.host == nil && s.n > 0 {
		panic("driver: Host() of memory that is not on the host")
	}
	return s.host
}
