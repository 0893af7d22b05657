package driver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Launcher is a Device that runs PTX: driver/cuda on a GPU, driver/sim by interpreting it.
// driver/cpu is not a Launcher.
type Launcher interface {
	Device

	// LoadModule compiles or decodes PTX text. name appears in errors, with the line that
	// the compiler rejects.
	LoadModule(name string, ptx []byte) (Module, error)

	// NewStream makes a queue of work. A nil Stream in a Config is the device's own queue,
	// with which CopyIn, CopyOut and Synchronize are ordered.
	NewStream() (Stream, error)
	NewEvent() (Event, error)

	// Launch queues one run of f with its packed arguments, which may be reused as soon as
	// Launch returns. It also requests dynamic shared memory above the architecture's
	// default of 48 KiB. An error of the kernel itself is returned by Launch or by a later
	// call that waits for the kernel.
	Launch(f Function, c Config, args *Args) error

	// EncodeTensorMap makes the 128 bytes that a kernel takes as a 64-byte aligned
	// __grid_constant__ parameter (see Args.TensorMap).
	EncodeTensorMap(t TensorMap) (EncodedTensorMap, error)

	// Attached points to a value that the code that launches kernels keeps with the device
	// and that lives as long: loaded modules, scratch memory (see kernels/ptx).
	Attached() *any
}

// ErrRefused is in the error of a Launch that the device or its driver does not make: it has
// run nothing, and works as before.
var ErrRefused = errors.New("the device does not launch this kernel")

// Attachment implements Launcher's Attached, for devices to embed.
type Attachment struct{ value any }

// Attached is the value, nil at first.
func (a *Attachment) Attached() *any { return &a.value }

// Module is loaded PTX.
type Module interface {
	// Function returns an entry; the error for an unknown name lists those that exist.
	Function(name string) (Function, error)
	Unload() error
}

// Function is one kernel of a Module.
type Function interface {
	Name() string
	Attributes() FunctionAttributes
}

// FunctionAttributes is the compiler's report on a kernel.
type FunctionAttributes struct {
	Registers   int // 32-bit registers per thread; 0 where they are virtual (sim)
	SharedBytes int // static shared memory per block
	LocalBytes  int // local memory per thread: not 0 if registers are spilled
	MaxThreads  int // threads per block, from the launch bounds
	ParamBytes  int // packed size of the parameters
}

// Dim is an extent in blocks or threads. A 0 counts as 1.
type Dim struct{ X, Y, Z int }

// Count is the number of blocks or threads.
func (d Dim) Count() int { return max(d.X, 1) * max(d.Y, 1) * max(d.Z, 1) }

// Config is the shape of a launch.
type Config struct {
	Grid, Block Dim
	Shared      int    // dynamic shared memory in bytes
	Stream      Stream // nil: the device's own queue
}

// Stream is a queue of work on a device.
type Stream interface {
	Record(Event) error
	Wait(Event) error   // later work of this stream waits for the event
	Synchronize() error // waits for all work of this stream and returns its first error
	Close() error
}

// Event is a point in a stream.
type Event interface {
	Synchronize() error
	// Since is the time on the device between two recorded events that have completed.
	Since(earlier Event) (time.Duration, error)
	Close() error
}

// Args packs a kernel's parameters as the C ABI lays them out, each at its natural
// alignment, so that one pointer and one length pass all of them, tensor maps included. The
// zero value is empty; Reset keeps its memory for the next launch. Our own kernels take Go
// structs, which kernels/ptx passes to Bytes field by field; the methods for single values
// are for PTX that has no struct declared for it.
type Args struct {
	buf   []byte
	spans []Span
}

// Span is the place of one parameter in the packed bytes.
type Span struct{ Offset, Size int }

// Reset empties a.
func (a *Args) Reset() *Args { a.buf, a.spans = a.buf[:0], a.spans[:0]; return a }

// Packed returns the parameters in the form that the device reads; valid until the next
// change.
func (a *Args) Packed() []byte { return a.buf }

// Spans returns the place of each parameter, in the order in which they were added.
func (a *Args) Spans() []Span { return a.spans }

func (a *Args) grow(size, align int) []byte {
	at := (len(a.buf) + align - 1) / align * align
	had := len(a.buf)
	a.buf = slices.Grow(a.buf, at+size-had)[:at+size]
	clear(a.buf[had:])
	a.spans = append(a.spans, Span{at, size})
	return a.buf[at : at+size]
}

// U32 adds an unsigned 32-bit parameter.
func (a *Args) U32(v uint32) *Args {
	binary.LittleEndian.PutUint32(a.grow(4, 4), v)
	return a
}

// I32 adds a signed 32-bit parameter.
func (a *Args) I32(v int32) *Args { return a.U32(uint32(v)) }

// F32 adds a float parameter.
func (a *Args) F32(v float32) *Args { return a.U32(math.Float32bits(v)) }

// U64 adds an unsigned 64-bit parameter.
func (a *Args) U64(v uint64) *Args {
	binary.LittleEndian.PutUint64(a.grow(8, 8), v)
	return a
}

// Addr adds a pointer: Slice.Addr() of device memory, 0 for a nil Slice.
func (a *Args) Addr(p uintptr) *Args { return a.U64(uint64(p)) }

// TensorMap adds an encoded tensor map by value.
func (a *Args) TensorMap(m *EncodedTensorMap) *Args { return a.Bytes(m[:], 64) }

// Bytes adds a by-value struct of the given alignment.
func (a *Args) Bytes(b []byte, align int) *Args {
	if align <= 0 || align&(align-1) != 0 {
		panic(fmt.Sprintf("driver: parameter alignment %d is not a power of two", align))
	}
	copy(a.grow(len(b), align), b)
	return a
}

// TensorType is the element type of a TensorMap.
type TensorType uint8

// Element types; the size in bytes is TensorType.Size.
const (
	TensorU8 TensorType = iota
	TensorBF16
	TensorF16
	TensorF32
	TensorI32
)

// Size is the bytes of one element.
func (t TensorType) Size() int {
	switch t {
	case TensorU8:
		return 1
	case TensorBF16, TensorF16:
		return 2
	}
	return 4
}

// TensorMap describes a strided tensor in device memory and the box that one TMA
// instruction moves: cuTensorMapEncodeTiled without interleave, element strides all
// 1, and zeros read outside the tensor.
type TensorMap struct {
	Type    TensorType
	Addr    uintptr  // 16-byte aligned
	Dims    []uint64 // elements, innermost first; 1 to 5 of them
	Strides []uint64 // bytes between neighbours in Dims[1:], multiples of 16
	Box     []uint32 // elements, 1..256 each; the innermost a multiple of 16 bytes
	Swizzle int      // 0, 32, 64 or 128 bytes: the innermost box extent fits in it
}

// EncodedTensorMap is a tensor map as the device reads it; opaque.
type EncodedTensorMap [128]byte
