package driver

import (
	"fmt"
	"unsafe"
)

// Memory is the memory of s, for Device.CopyIn and CopyOut.
func (s Slice[T]) Memory() Memory {
	var zero T
	n := s.n * int(unsafe.Sizeof(zero))
	if s.host != nil {
		return HostMemory(bytesOf(s.host))
	}
	return DeviceMemory(s.addr, n)
}

// onHost reports whether Go can access s.
func (s Slice[T]) onHost() bool { return s.host != nil || s.n == 0 }

// Read returns the elements of s: the memory itself if Go can access it, otherwise a copy.
func Read[T Element](dev Device, s Slice[T]) ([]T, error) {
	if s.onHost() {
		return s.host, nil
	}
	out := make([]T, s.n)
	if err := dev.CopyOut(bytesOf(out), s.Memory()); err != nil {
		return nil, err
	}
	return out, nil
}

// Write lets fill overwrite s: fill gets the memory itself if Go can access it, and
// otherwise zeros that are then copied to dev.
func Write[T Element](dev Device, s Slice[T], fill func([]T) error) error {
	if s.onHost() {
		return fill(s.host)
	}
	out := make([]T, s.n)
	if err := fill(out); err != nil {
		return err
	}
	return dev.CopyIn(s.Memory(), bytesOf(out))
}

// Upload copies src into dst, which has the same length. src may be the result of Read.
func Upload[T Element](dev Device, dst Slice[T], src []T) error {
	if len(src) != dst.n {
		panic(fmt.Sprintf("driver: Upload of %d elements into %d", len(src), dst.n))
	}
	if dst.onHost() {
		copy(dst.host, src)
		return nil
	}
	return dev.CopyIn(dst.Memory(), bytesOf(src))
}

// Copier is a device that copies within its own memory, ordered as kernels are. Devices
// whose memory Go can access need not implement it.
type Copier interface {
	// Copy copies src to dst, which has the same length and does not overlap src.
	Copy(dst, src Memory) error
}

// Copy copies src to dst on dev, after all work issued before. The two have the same length
// and do not overlap.
func Copy[T Element](dev Device, dst, src Slice[T]) error {
	if src.n != dst.n {
		panic(fmt.Sprintf("driver: Copy of %d elements into %d", src.n, dst.n))
	}
	if c, ok := dev.(Copier); ok && !dst.onHost() && !src.onHost() {
		return c.Copy(dst.Memory(), src.Memory())
	}
	host, err := Read(dev, src)
	if err != nil {
		return err
	}
	return Upload(dev, dst, host)
}

// Place makes data accessible to dev's kernels: the slices themselves on the host, copies
// elsewhere, which release frees.
func Place[T Element](dev Device, data ...[]T) (placed []Slice[T], release func(), err error) {
	var copies []Memory
	release = func() {
		for _, m := range copies {
			dev.Free(m)
		}
	}
	for _, s := range data {
		if dev.Kind() == CPU {
			placed = append(placed, FromHost(s))
			continue
		}
		m, err := dev.Alloc(len(bytesOf(s)))
		if err != nil {
			release()
			return nil, nil, err
		}
		copies, placed = append(copies, m), append(placed, View[T](m))
		if err := Upload(dev, View[T](m), s); err != nil {
			release()
			return nil, nil, err
		}
	}
	return placed, release, nil
}

func bytesOf[T Element](s []T) []byte {
	var zero T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(zero)))
}
