package ptx

import (
	"slices"
	"unsafe"

	"dataflex.dev/dataflex/driver"
)

// Scratch buffers that may be in use at the same time.
const maxScratch = 8

// Scratch returns at least n bytes of unspecified contents, 64-byte aligned. Each slot is
// one buffer, which keeps its largest size; another call with the same slot invalidates the
// memory.
func (q *Queue) Scratch(slot, n int) uintptr {
	q.scratch[slot] = q.room(q.scratch[slot], n)
	return q.scratch[slot].Addr()
}

// Floats is Scratch as a slice of n floats.
func (q *Queue) Floats(slot, n int) driver.F32 {
	q.Scratch(slot, 4*n)
	return driver.View[float32](q.scratch[slot]).Sub(0, n)
}

// upload is a table with a copy on the device.
type upload struct {
	host []byte // the content of the device's copy
	mem  driver.Memory
}

// Every layer needs the same positions, segments and work lists: the last few tables stay on
// the device and are found again by their contents.
const maxUploads = 24

// Upload returns the address of a copy of s on the device, valid until maxUploads other
// tables have been uploaded. For a table that is already there it costs one comparison; a
// new one waits for the work queued so far.
func Upload[T int32 | uint32 | float32](q *Queue, s []T) uintptr {
	host := raw(s)
	at := slices.IndexFunc(q.uploads, func(u upload) bool { return string(u.host) == string(host) })
	var u upload
	switch {
	case at >= 0:
		u = q.uploads[at]
		q.uploads = slices.Delete(q.uploads, at, at+1)
	default:
		if len(q.uploads) == maxUploads {
			u = q.uploads[0]
			q.uploads = slices.Delete(q.uploads, 0, 1)
		}
		u = q.fill(u, host)
	}
	q.uploads = append(q.uploads, u) // the most recent last
	return u.mem.Addr()
}

// Constant is Upload for a table that is never modified, found by its address instead of its
// contents: the last maxConstants stay on the device.
func Constant[T int32 | uint32 | float32](q *Queue, s []T) uintptr {
	host := raw(s)
	at := slices.IndexFunc(q.constants, func(c constant) bool {
		return len(c.host) == len(host) && unsafe.SliceData(c.host) == unsafe.SliceData(host)
	})
	if at >= 0 {
		return q.constants[at].mem.Addr()
	}
	var c constant
	if len(q.constants) == maxConstants {
		c = q.constants[0]
		q.constants = slices.Delete(q.constants, 0, 1)
	}
	c.mem, c.host = q.room(c.mem, len(host)), host
	must("a table", q.dev.CopyIn(c.mem, host))
	q.constants = append(q.constants, c)
	return c.mem.Addr()
}

const maxConstants = 8

// constant keeps a reference to the host's table, so that its address is not reused.
type constant struct {
	host []byte
	mem  driver.Memory
}

// raw views a table as bytes.
func raw[T int32 | uint32 | float32](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), 4*len(s))
}

func (q *Queue) fill(u upload, host []byte) upload {
	u.mem = q.room(u.mem, len(host))
	u.host = append(u.host[:0], host...)
	if len(host) > 0 {
		must("a table", q.dev.CopyIn(u.mem, host))
	}
	return u
}

// room returns m, or new memory in its place if m has fewer than n bytes.
func (q *Queue) room(m driver.Memory, n int) driver.Memory {
	n = max(n, 64)
	if m.Size() >= n {
		return m
	}
	if m.Size() > 0 {
		q.dev.Free(m)
	}
	m, err := q.dev.Alloc(n)
	must("memory of its own", err)
	return m
}

// Read copies n bytes at addr to dst after all work queued so far.
func (q *Queue) Read(dst []byte, addr uintptr) {
	must("reading a result", q.dev.CopyOut(dst, driver.DeviceMemory(addr, len(dst))))
}

// Write copies src to addr before all work queued from now on.
func (q *Queue) Write(addr uintptr, src []byte) {
	must("writing numbers", q.dev.CopyIn(driver.DeviceMemory(addr, len(src)), src))
}
