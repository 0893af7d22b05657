// Package driver defines devices, on which kernels compute, and their memory.
//
// A Device is implemented by driver/cpu (host memory, a worker pool; it runs the kernels'
// host twins), driver/cuda and driver/sim (both run PTX). Kernels dispatch on the concrete
// device; everything above the kernels sees only this interface.
package driver

import "fmt"

// Kind tells the families of devices apart.
type Kind uint8

const (
	CPU  Kind = iota // host memory, host twins
	CUDA             // an NVIDIA GPU
	Sim              // the PTX interpreter
)

// String gives the name used by --device.
func (k Kind) String() string {
	switch k {
	case CPU:
		return "cpu"
	case CUDA:
		return "cuda"
	case Sim:
		return "sim"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Attributes describes a device.
type Attributes struct {
	Name        string // as the vendor spells it
	Units       int    // worker threads on a CPU, multiprocessors on a GPU
	MemoryBytes uint64 // usable memory in bytes, 0 when unknown
	Capability  int    // compute capability as PTX targets spell it: 80, 90; 0 on a CPU
	BF16        bool   // has units that multiply bf16 matrices (tensor cores)
	Clusters    bool   // launches kernels whose blocks form clusters
}

// Memory is one allocation on a device. Views into it are Slices.
type Memory struct {
	host []byte  // set where the device's memory is Go-addressable
	addr uintptr // device address otherwise
	n    int
}

// HostMemory wraps Go memory, for devices that compute on the host.
func HostMemory(b []byte) Memory { return Memory{host: b, n: len(b)} }

// DeviceMemory wraps an address that only the device can reach.
func DeviceMemory(addr uintptr, n int) Memory { return Memory{addr: addr, n: n} }

// Size is the length in bytes.
func (m Memory) Size() int { return m.n }

// Addr is the device address; 0 for host memory.
func (m Memory) Addr() uintptr { return m.addr }

// Device is a place where kernels compute. Methods are safe for use from one
// goroutine at a time; work on a device is ordered as it was issued.
type Device interface {
	Kind() Kind
	Attributes() Attributes

	// Alloc returns n zeroed bytes, 64-byte aligned, or an error with the sizes requested,
	// in use and available.
	Alloc(n int) (Memory, error)
	Free(Memory)

	// CopyIn and CopyOut move bytes between the host and the device, after all
	// work issued before.
	CopyIn(dst Memory, src []byte) error
	CopyOut(dst []byte, src Memory) error

	// Used and HighWater are bytes allocated now and at most since the start.
	Used() uint64
	HighWater() uint64

	// Synchronize waits for all issued work and returns its first error.
	Synchronize() error
	Close() error
}
