package ptx

import (
	"slices"
	"unsafe"

	"dataflex/driver"
)

// Scratch buffers that may be in use at the same time.
const maxScratch = 8

// Scratch returns at least n bytes of unspecified contents, 64-byte aligned. Each slot
// is one buffer, which keeps its largest size; a call with the same slot takes it away
// from whoever had it.
func (q *Queue) Scratch(slot, n int) uintptr {
	m := &q.scratch[slot]
	if m.Size() < n {
		if m.Size() > 0 {
			q.dev.Free(*m)
		}
		var err error
		*m, err = q.dev.Alloc(n)
		must("scratch memory", err)
	}
	return m.Addr()
}

// Floats is Scratch as a slice of n floats.
func (q *Queue) Floats(slot, n int) driver.F32 {
	q.Scratch(slot, 4*n)
	return driver.View[float32](q.scratch[slot]).Sub(0, n)
}

// upload is a table the device has a copy of.
type upload struct {
	host []byte // what the device holds
	mem  driver.Memory
}

// Every layer asks for the same positions, segments and work lists: the last few
// tables stay on the device and are found again by their contents.
const maxUploads = 24

// Upload returns the address of a copy of s on the device, valid until maxUploads
// other tables have been uploaded. A table that is there already costs one comparison;
// a new one waits for the work queued so far.
func Upload[T int32 | uint32 | float32](q *Queue, s []T) uintptr {
	host := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), 4*len(s))
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

func (q *Queue) fill(u upload, host []byte) upload {
	if n := max(len(host), 64); u.mem.Size() < n {
		if u.mem.Size() > 0 {
			q.dev.Free(u.mem)
		}
		var err error
		u.mem, err = q.dev.Alloc(n)
		must("a table", err)
	}
	u.host = append(u.host[:0], host...)
	if len(host) > 0 {
		must("a table", q.dev.CopyIn(u.mem, host))
	}
	return u
}

// Read copies n bytes at addr to dst after all work queued so far.
func (q *Queue) Read(dst []byte, addr uintptr) {
	must("reading a result", q.dev.CopyOut(dst, driver.DeviceMemory(addr, len(dst))))
}
