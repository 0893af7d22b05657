// Package sim implements the device that interprets PTX: the text that we ship, on any
// machine, and more strictly than a GPU.
//
// A warp runs in lockstep over rows of 32 lanes; lanes that diverge become fragments, which
// are merged when they meet again. Everything that a GPU leaves undefined is an error (see
// Fault) with kernel, PTX line, CUDA line, block and thread: accesses out of bounds,
// misaligned or to memory that was not written, races in shared memory, asynchronous copies
// that were not waited for, barriers not reached by all, deadlocks. Asynchronous work is
// done as late as the program allows, so that a missing wait always shows. The blocks of a
// cluster run in turn and reach one another's shared memory, under the same checks and one
// more: only while the other block is known to run. Memory requests,
// bank conflicts and instructions are counted exactly (see Counters).
//
// It cannot tell whether ptxas accepts the text, and does not model registers, time, the
// last bits of approximate functions and of tensor-core sums, nor effects of weak memory
// ordering beyond races.
package sim

import (
	"fmt"
	"runtime"
	"sync"

	"dataflex.dev/dataflex/driver"
)

// Options choose how kernels are run. The zero value checks and counts everything except
// races in global memory.
type Options struct {
	Unchecked   bool   // do not check races, uninitialised reads and async hazards; bounds are still checked
	Uncounted   bool   // do not count sectors and bank conflicts
	GlobalRaces bool   // also find races in global memory, including those between blocks; uses one worker
	Unwritten   bool   // the result of Alloc counts as unwritten although it is zero
	Seed        uint64 // not 0: warps in random order, preempted anywhere
	Workers     int    // blocks run at a time; 0: GOMAXPROCS
	MaxSteps    int64  // the most instructions of a block; 0: 2^32
	Capability  int    // in Attributes, by which kernels choose their PTX; 0: 80
	Units       int    // multiprocessors in Attributes, by which kernels choose tiles and grids; 0: Workers
}

// buffer is one allocation of global memory.
type buffer struct {
	name string
	data []byte // nil when freed
	set  []byte // written or unwritten, one byte each
}

// Device implements driver.Launcher.
type Device struct {
	driver.Attachment
	opt     Options
	buffers []*buffer // at windows 1…
	atomics sync.Mutex

	used, high uint64
	last       *Counters
	totals     map[string]*Counters
	launched   map[Entry]bool
}

// New makes a device.
func New(o Options) *Device {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.MaxSteps <= 0 {
		o.MaxSteps = defaultSteps
	}
	if o.Units <= 0 {
		o.Units = o.Workers
	}
	if o.Capability == 0 {
		o.Capability = 80
	}
	return &Device{opt: o, totals: map[string]*Counters{}, launched: map[Entry]bool{}}
}

// Kind is driver.Sim.
func (d *Device) Kind() driver.Kind { return driver.Sim }

// Attributes describes the interpreter.
func (d *Device) Attributes() driver.Attributes {
	return driver.Attributes{Name: "PTX interpreter", Units: d.opt.Units, Capability: d.opt.Capability, BF16: true, Clusters: d.opt.Capability >= 90}
}

// maxBuffer is the largest size for which an allocation fits in its window.
const maxBuffer = 1 << 36

// Alloc returns n zeroed bytes.
func (d *Device) Alloc(n int) (driver.Memory, error) { return d.AllocNamed("", n) }

// AllocNamed is Alloc with a name that appears in faults.
func (d *Device) AllocNamed(name string, n int) (driver.Memory, error) {
	if n < 0 || n > maxBuffer {
		return driver.Memory{}, fmt.Errorf("sim: allocation of %d bytes, %d in use", n, d.used)
	}
	if len(d.buffers)+1 >= firstWindow {
		return driver.Memory{}, fmt.Errorf("sim: more than %d allocations", firstWindow)
	}
	if name == "" {
		name = fmt.Sprintf("buffer %d", len(d.buffers)+1)
	}
	b := &buffer{name: name, data: make([]byte, n), set: make([]byte, n)}
	if !d.opt.Unwritten {
		setWritten(b.set)
	}
	d.buffers = append(d.buffers, b)
	d.used += uint64(n)
	d.high = max(d.high, d.used)
	return driver.DeviceMemory(uintptr(len(d.buffers))<<windowShift, n), nil
}

// find is the buffer in whose window addr is, or nil.
func (d *Device) find(addr uint64) *buffer {
	i := addr>>windowShift - 1
	if i >= uint64(len(d.buffers)) {
		return nil
	}
	return d.buffers[i]
}

// Free frees memory; later accesses to it are faults.
func (d *Device) Free(m driver.Memory) {
	b := d.find(uint64(m.Addr()))
	if b == nil || b.data == nil {
		panic(fmt.Sprintf("sim: Free of %#x, which is not allocated", m.Addr()))
	}
	d.used -= uint64(len(b.data))
	b.data, b.set = nil, nil
}

// span checks a copy from or to the host and returns the buffer and the offset in it.
func (d *Device) span(what string, m driver.Memory, n int) (*buffer, int, error) {
	b, off := d.find(uint64(m.Addr())), int(uint64(m.Addr())&windowMask)
	if n == 0 {
		return &buffer{}, 0, nil
	}
	if b == nil || n > m.Size() || off+n > len(b.data) {
		return nil, 0, fmt.Errorf("sim: copy %s of %d bytes at %#x, an allocation of %d", what, n, m.Addr(), m.Size())
	}
	return b, off, nil
}

// CopyIn copies host bytes into dst.
func (d *Device) CopyIn(dst driver.Memory, src []byte) error {
	b, off, err := d.span("in", dst, len(src))
	if err != nil {
		return err
	}
	copy(b.data[off:], src)
	setWritten(b.set[off : off+len(src)])
	return nil
}

// CopyOut copies src to host bytes.
func (d *Device) CopyOut(dst []byte, src driver.Memory) error {
	b, off, err := d.span("out", src, len(dst))
	if err != nil {
		return err
	}
	copy(dst, b.data[off:])
	return nil
}

// Copy copies src to dst; unwritten bytes stay unwritten.
func (d *Device) Copy(dst, src driver.Memory) error {
	to, at, err := d.span("in", dst, src.Size())
	if err != nil {
		return err
	}
	from, off, err := d.span("out", src, src.Size())
	if err != nil {
		return err
	}
	copy(to.data[at:], from.data[off:off+src.Size()])
	copy(to.set[at:], from.set[off:off+src.Size()])
	return nil
}

// Forget marks m as unwritten: a kernel that reads it before writing it faults.
func (d *Device) Forget(m driver.Memory) error {
	b, off, err := d.span("out", m, m.Size())
	if err != nil {
		return err
	}
	clear(b.set[off : off+m.Size()])
	return nil
}

// Used is the number of bytes allocated and not freed.
func (d *Device) Used() uint64 { return d.used }

// HighWater is the largest Used so far.
func (d *Device) HighWater() uint64 { return d.high }

// Synchronize does nothing: a launch returns when it has completed.
func (d *Device) Synchronize() error { return nil }

// Close frees all memory.
func (d *Device) Close() error {
	d.buffers, d.used = nil, 0
	*d.Attached() = nil
	return nil
}

var (
	_ driver.Launcher = (*Device)(nil)
	_ driver.Copier   = (*Device)(nil)
)
