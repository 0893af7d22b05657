package cuda

import (
	"fmt"
	"unsafe"

	"dataflex.dev/dataflex/driver"
)

// Properties is the driver's description of a GPU.
type Properties struct {
	Name             string
	Major, Minor     int    // compute capability
	DriverVersion    int    // CUDA version the driver supports: 1000*major + 10*minor
	Multiprocessors  int    //
	ClockKHz         int    // typical core clock
	MemoryClockKHz   int    // peak memory clock
	MemoryBusBits    int    //
	L2Bytes          int    //
	SharedPerBlock   int    // bytes of shared memory per block at most (opt-in limit)
	SharedPerUnit    int    // bytes of shared memory per multiprocessor
	RegistersPerUnit int    // 32-bit registers per multiprocessor
	ThreadsPerUnit   int    // resident threads per multiprocessor at most
	ECC              bool   // error correction is enabled
	Clusters         bool   // launches kernels whose blocks form clusters
	MemoryBytes      uint64 // total
}

// SM is the compute capability as PTX targets spell it: 80, 90.
func (p Properties) SM() int { return 10*p.Major + p.Minor }

// Describer is a device that knows its hardware: used to choose between sm_80 and sm_90a
// kernels, and for the peak rates of benchmarks.
type Describer interface {
	Properties() Properties
}

// Queuer is a device whose own queue is available as a stream, in which events can be
// recorded and which can wait for those of others. Closing that stream does nothing.
type Queuer interface {
	Queue() driver.Stream
}

// Sharer is a device into whose own queue other libraries may put work (NCCL).
type Sharer interface {
	// Share calls f on a thread on which the device's context is current. queue is the
	// CUstream of the device's own queue.
	Share(f func(queue unsafe.Pointer) error) error
	// Busy reports whether the device's own queue has unfinished work; it does not wait.
	Busy() (bool, error)
}

// Stager is a device that copies asynchronously between its memory and pinned host
// memory.
type Stager interface {
	// NewHostBuffer returns n bytes of pinned memory of unspecified contents.
	NewHostBuffer(n int) (*HostBuffer, error)
	// CopyInAsync queues a copy of all of src to the start of dst. src must not change until
	// the stream has completed the copy. A nil stream is the device's own queue.
	CopyInAsync(dst driver.Memory, src *HostBuffer, s driver.Stream) error
	// CopyOutAsync queues a copy from the start of src that fills dst.
	CopyOutAsync(dst *HostBuffer, src driver.Memory, s driver.Stream) error
}

// HostBuffer is pinned host memory, or a window on it.
type HostBuffer struct {
	bytes []byte
	free  func() error // nil for a window
}

// Bytes is the memory.
func (b *HostBuffer) Bytes() []byte { return b.bytes }

// Sub is the window [lo, hi), valid until b is closed.
func (b *HostBuffer) Sub(lo, hi int) *HostBuffer {
	if lo < 0 || hi < lo || hi > len(b.bytes) {
		panic(fmt.Sprintf("cuda: Sub(%d, %d) of a host buffer of %d", lo, hi, len(b.bytes)))
	}
	return &HostBuffer{bytes: b.bytes[lo:hi:hi]}
}

// Close frees the memory; no copy may be queued or running. Closing a window, or closing
// twice, does nothing.
func (b *HostBuffer) Close() error {
	if b.free == nil {
		return nil
	}
	free := b.free
	b.bytes, b.free = nil, nil
	return free()
}

// Grapher is a device that records launches once and repeats them as one launch.
type Grapher interface {
	// Capture calls record and keeps, instead of running them, the launches and asynchronous
	// copies that record queues in the device's own queue, with their current arguments.
	// Allocating, CopyIn, CopyOut and Synchronize are errors inside record.
	Capture(record func() error) (Graph, error)
}

// Graph is recorded work.
type Graph interface {
	// Launch queues all of the recorded work in the device's own queue.
	Launch() error
	Close() error
}
