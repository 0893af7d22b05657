// Package cpu is the device that computes on the host: Go memory and a pool of
// worker threads. Kernels run their host twins on it.
package cpu

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	processor "golang.org/x/sys/cpu"

	"dataflex.dev/dataflex/driver"
)

const alignment = 64 // a cache line, and the widest vector register

// Device is the host CPU with its memory. It implements driver.Device.
type Device struct {
	pool *pool

	mu        sync.Mutex
	used      uint64
	highWater uint64
}

// New starts a device with that many worker threads; 0 means GOMAXPROCS. Close stops them.
func New(threads int) *Device { return &Device{pool: newPool(threads)} }

// Parallel calls f(0) … f(n-1), each once, on the worker threads, and returns when all calls
// have returned. A loop started inside f runs on f's own thread. What f writes must not
// depend on the thread that runs it: results are the same for every number of threads.
func (d *Device) Parallel(n int, f func(i int)) { d.pool.parallel(n, f) }

// Threads is the number of worker threads.
func (d *Device) Threads() int { return d.pool.threads }

// Kind is driver.CPU.
func (d *Device) Kind() driver.Kind { return driver.CPU }

// Attributes describes the host. BF16 is set if the processor has AVX512-BF16, as all with
// AMX have.
func (d *Device) Attributes() driver.Attributes {
	return driver.Attributes{Name: runtime.GOARCH, Units: d.pool.threads, MemoryBytes: memoryBytes(), BF16: processor.X86.HasAVX512BF16}
}

// Alloc returns n zeroed bytes of Go memory, 64-byte aligned.
func (d *Device) Alloc(n int) (driver.Memory, error) {
	if n < 0 {
		return driver.Memory{}, fmt.Errorf("cpu: allocation of %d bytes", n)
	}
	if total, used := memoryBytes(), d.Used(); total > 0 && uint64(n)+used > total {
		return driver.Memory{}, fmt.Errorf("cpu: %d bytes requested with %d in use, of %d in all", n, used, total)
	}
	raw := make([]byte, n+alignment)
	inHugePages(raw)
	off := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) & (alignment - 1))
	d.mu.Lock()
	d.used += uint64(n)
	d.highWater = max(d.highWater, d.used)
	d.mu.Unlock()
	return driver.HostMemory(raw[off : off+n : off+n]), nil
}

// Free records that m is no longer used; the garbage collector frees it.
func (d *Device) Free(m driver.Memory) {
	d.mu.Lock()
	d.used -= uint64(m.Size())
	d.mu.Unlock()
}

// CopyIn copies host bytes into m.
func (d *Device) CopyIn(dst driver.Memory, src []byte) error {
	h := driver.View[uint8](dst).Host()
	if len(src) > len(h) {
		return fmt.Errorf("cpu: copy of %d bytes into %d", len(src), len(h))
	}
	copy(h, src)
	return nil
}

// CopyOut copies from m to host bytes.
func (d *Device) CopyOut(dst []byte, src driver.Memory) error {
	h := driver.View[uint8](src).Host()
	if len(dst) > len(h) {
		return fmt.Errorf("cpu: copy of %d bytes out of %d", len(dst), len(h))
	}
	copy(dst, h)
	return nil
}

// Used is the number of bytes allocated and not freed.
func (d *Device) Used() uint64 { d.mu.Lock(); defer d.mu.Unlock(); return d.used }

// HighWater is the largest Used so far.
func (d *Device) HighWater() uint64 { d.mu.Lock(); defer d.mu.Unlock(); return d.highWater }

// Synchronize does nothing: host twins complete before they return.
func (d *Device) Synchronize() error { return nil }

// Close stops the worker threads.
func (d *Device) Close() error { d.pool.close(); return nil }

var _ driver.Device = (*Device)(nil)
