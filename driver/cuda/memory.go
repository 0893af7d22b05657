//go:build cuda && cgo && linux

package cuda

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"dataflex.dev/dataflex/driver"
)

// segments allocates a heap's segments through the driver.
type segments struct{ d *Device }

func (s segments) alloc(n int) (addr uintptr, err error) {
	err = s.d.do("cuMemAlloc", func() int {
		p, err := cu.MemAlloc(int64(n))
		addr = uintptr(p)
		return code(err)
	})
	return addr, err
}

func (s segments) free(addr uintptr) error {
	return s.d.do("cuMemFree", func() int { return code(cu.MemFree(cu.DevicePtr(addr))) })
}

// Alloc returns n zeroed bytes, 512-byte aligned. The zeroing is queued, as Free is:
// neither waits for the GPU.
func (d *Device) Alloc(n int) (driver.Memory, error) {
	if n < 0 {
		return driver.Memory{}, fmt.Errorf("cuda: allocation of %d bytes", n)
	}
	if err := d.refuseCapture("Alloc"); err != nil {
		return driver.Memory{}, err
	}
	addr, size, err := d.heap.alloc(n)
	if err != nil {
		return driver.Memory{}, fmt.Errorf("cuda: %s requested, %s in use, %s held%s: %w",
			sizeText(uint64(n)), sizeText(d.heap.inUse), sizeText(d.heap.held), d.freeText(), err)
	}
	if err := d.do("cuMemsetD32Async", func() int {
		return code(cu.MemsetD32Async(cu.DevicePtr(addr), 0, int64(size/4), d.queue))
	}); err != nil {
		d.heap.give(addr)
		return driver.Memory{}, fmt.Errorf("cuda: zeroing %s: %w", sizeText(uint64(n)), err)
	}
	return driver.DeviceMemory(addr, n), nil
}

// freeText describes how much memory the GPU has left, for the error of a failed Alloc.
func (d *Device) freeText() string {
	var free, total int64
	if err := d.do("cuMemGetInfo", func() (c int) {
		var err error
		free, total, err = cu.MemInfo()
		return code(err)
	}); err != nil {
		return fmt.Sprintf(", %s on the device", sizeText(d.props.MemoryBytes))
	}
	return fmt.Sprintf(", %s of %s free on the device", sizeText(uint64(free)), sizeText(uint64(total)))
}

// Free frees memory that Alloc returned; it panics for anything else. Work queued before may
// still use the memory, and work queued after may get it.
func (d *Device) Free(m driver.Memory) { d.heap.give(m.Addr()) }

// Used is the number of bytes in use, each allocation rounded up to 512.
func (d *Device) Used() uint64 { return d.heap.inUse }

// HighWater is the largest Used so far.
func (d *Device) HighWater() uint64 { return d.heap.high }

// CopyIn queues a copy of src to the start of dst after all work issued before. src may be
// reused when CopyIn returns: its data are in pinned memory by then.
func (d *Device) CopyIn(dst driver.Memory, src []byte) error {
	if len(src) > dst.Size() {
		return fmt.Errorf("cuda: copy of %d bytes into %d", len(src), dst.Size())
	}
	if err := d.refuseCapture("CopyIn"); err != nil {
		return err
	}
	for at := dst.Addr(); len(src) > 0; {
		b, err := d.staging.next()
		if err != nil {
			return err
		}
		n := copy(b.mem.Bytes(), src)
		if err := d.copyIn(at, b.mem.Bytes()[:n], d.queue); err != nil {
			return err
		}
		if err := b.mark(); err != nil {
			return err
		}
		at, src = at+uintptr(n), src[n:]
	}
	return nil
}

// CopyOut fills dst from the start of src after all work issued before, and waits for it: an
// error of that work is returned here.
func (d *Device) CopyOut(dst []byte, src driver.Memory) error {
	if len(dst) > src.Size() {
		return fmt.Errorf("cuda: copy of %d bytes out of %d", len(dst), src.Size())
	}
	if err := d.refuseCapture("CopyOut"); err != nil {
		return err
	}
	// One chunk is copied while the chunk before is taken out of pinned memory.
	var before *buffer
	var rest []byte
	for at := src.Addr(); len(dst) > 0; {
		b, err := d.staging.next()
		if err != nil {
			return err
		}
		n := min(len(dst), len(b.mem.Bytes()))
		if err := d.copyOut(b.mem.Bytes()[:n], at, d.queue); err != nil {
			return err
		}
		if err := b.mark(); err != nil {
			return err
		}
		if err := before.drain(rest); err != nil {
			return err
		}
		before, rest = b, dst[:n]
		at, dst = at+uintptr(n), dst[n:]
	}
	return before.drain(rest)
}

// Copy queues a copy of src to the start of dst after all work issued before.
func (d *Device) Copy(dst, src driver.Memory) error {
	if src.Size() > dst.Size() {
		return fmt.Errorf("cuda: copy of %d bytes into %d", src.Size(), dst.Size())
	}
	if src.Size() == 0 {
		return nil
	}
	return d.do("cuMemcpyDtoDAsync", func() int {
		return code(cu.MemcpyDtoDAsync(cu.DevicePtr(dst.Addr()), cu.DevicePtr(src.Addr()), int64(src.Size()), d.queue))
	})
}

// CopyInAsync queues a copy of pinned memory to the device.
func (d *Device) CopyInAsync(dst driver.Memory, src *HostBuffer, s driver.Stream) error {
	if len(src.Bytes()) > dst.Size() {
		return fmt.Errorf("cuda: copy of %d bytes into %d", len(src.Bytes()), dst.Size())
	}
	return d.copyIn(dst.Addr(), src.Bytes(), d.stream(s))
}

// CopyOutAsync queues a copy from the device to pinned memory.
func (d *Device) CopyOutAsync(dst *HostBuffer, src driver.Memory, s driver.Stream) error {
	if len(dst.Bytes()) > src.Size() {
		return fmt.Errorf("cuda: copy of %d bytes out of %d", len(dst.Bytes()), src.Size())
	}
	return d.copyOut(dst.Bytes(), src.Addr(), d.stream(s))
}

func (d *Device) copyIn(dst uintptr, src []byte, s cu.Stream) error {
	if len(src) == 0 {
		return nil
	}
	return d.do("cuMemcpyHtoDAsync", func() int {
		return code(cu.MemcpyHtoDAsync(cu.DevicePtr(dst), unsafe.Pointer(&src[0]), int64(len(src)), s))
	})
}

func (d *Device) copyOut(dst []byte, src uintptr, s cu.Stream) error {
	if len(dst) == 0 {
		return nil
	}
	return d.do("cuMemcpyDtoHAsync", func() int {
		return code(cu.MemcpyDtoHAsync(unsafe.Pointer(&dst[0]), cu.DevicePtr(src), int64(len(dst)), s))
	})
}

// NewHostBuffer returns n bytes of pinned memory.
func (d *Device) NewHostBuffer(n int) (*HostBuffer, error) {
	if n <= 0 {
		return nil, fmt.Errorf("cuda: host buffer of %d bytes", n)
	}
	b := &HostBuffer{}
	err := d.do("cuMemHostAlloc", func() (c int) {
		b.bytes, c = nativeHostAlloc(n)
		return c
	})
	if err != nil {
		return nil, fmt.Errorf("cuda: %s of pinned memory: %w", sizeText(uint64(n)), err)
	}
	p := unsafe.Pointer(&b.bytes[0])
	b.free = func() error {
		return d.do("cuMemFreeHost", func() int { return code(cu.MemFreeHost(p)) })
	}
	return b, nil
}
