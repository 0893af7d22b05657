package cuda

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// The driver's own allocation takes microseconds to milliseconds and its free waits for the
// GPU, so device memory is allocated in segments that are divided into blocks.
const (
	granule     = 512      // bytes: every block starts and ends at a multiple
	segmentSize = 32 << 20 // bytes of a segment shared by small blocks
	segmentStep = 2 << 20  // larger segments are a multiple of the GPU's page
)

// source allocates segments.
type source interface {
	alloc(n int) (uintptr, error)
	free(addr uintptr) error
}

// heap allocates blocks of device memory: best fit, adjacent free blocks are merged,
// segments are kept until the source runs out of memory.
type heap struct {
	src   source
	free  []*block           // by size, then address
	used  map[uintptr]*block // in use, by address
	inUse uint64             // bytes of blocks in use
	high  uint64             // the largest inUse so far
	held  uint64             // bytes of segments
}

// block is a part of a segment; prev and next are the adjacent blocks.
type block struct {
	addr       uintptr
	size       int
	free       bool
	prev, next *block
}

func newHeap(src source) *heap { return &heap{src: src, used: map[uintptr]*block{}} }

// alloc returns the address of n bytes, rounded up to at least one granule. If the source is
// out of memory, unused segments are released before it is asked again.
func (h *heap) alloc(n int) (addr uintptr, size int, err error) {
	size = max(roundUp(n, granule), granule)
	b := h.take(size)
	if b == nil {
		if err := h.grow(size); err != nil {
			if released, rerr := h.release(); rerr != nil || released == 0 {
				return 0, 0, errors.Join(err, rerr)
			}
			if err := h.grow(size); err != nil {
				return 0, 0, err
			}
		}
		b = h.take(size)
	}
	h.used[b.addr] = b
	h.inUse += uint64(b.size)
	h.high = max(h.high, h.inUse)
	return b.addr, b.size, nil
}

// give frees the block at addr. It panics for an address that was not allocated, or was
// freed already.
func (h *heap) give(addr uintptr) {
	b := h.used[addr]
	if b == nil {
		panic(fmt.Sprintf("cuda: Free of %#x, which Alloc did not return or Free had already", addr))
	}
	delete(h.used, addr)
	h.inUse -= uint64(b.size)
	if n := b.next; n != nil && n.free {
		h.unlist(n)
		b.size += n.size
		b.next = n.next
		if b.next != nil {
			b.next.prev = b
		}
	}
	if p := b.prev; p != nil && p.free {
		h.unlist(p)
		p.size += b.size
		p.next = b.next
		if p.next != nil {
			p.next.prev = p
		}
		b = p
	}
	h.list(b)
}

// take finds the smallest free block that holds size bytes and splits off the rest.
func (h *heap) take(size int) *block {
	i, _ := slices.BinarySearchFunc(h.free, &block{size: size}, (*block).compare)
	if i == len(h.free) {
		return nil
	}
	b := h.free[i]
	h.free = slices.Delete(h.free, i, i+1)
	b.free = false
	if b.size > size {
		rest := &block{addr: b.addr + uintptr(size), size: b.size - size, prev: b, next: b.next}
		if rest.next != nil {
			rest.next.prev = rest
		}
		b.size, b.next = size, rest
		h.list(rest)
	}
	return b
}

// grow adds a segment that holds a block of size bytes.
func (h *heap) grow(size int) error {
	n := segmentSize
	if size > n {
		n = roundUp(size, segmentStep)
	}
	addr, err := h.src.alloc(n)
	if err != nil {
		return err
	}
	h.held += uint64(n)
	h.list(&block{addr: addr, size: n})
	return nil
}

// release returns segments that are entirely free to the source and returns the number of
// their bytes.
func (h *heap) release() (int, error) {
	var released int
	var errs []error
	for _, b := range slices.Clone(h.free) {
		if b.prev != nil || b.next != nil {
			continue
		}
		h.unlist(b)
		if err := h.src.free(b.addr); err != nil {
			errs = append(errs, err)
		}
		released += b.size
		h.held -= uint64(b.size)
	}
	return released, errors.Join(errs...)
}

// close frees every segment, including those with blocks in use.
func (h *heap) close() error {
	for addr := range h.used {
		h.give(addr)
	}
	_, err := h.release()
	return err
}

func (h *heap) list(b *block) {
	b.free = true
	i, _ := slices.BinarySearchFunc(h.free, b, (*block).compare)
	h.free = slices.Insert(h.free, i, b)
}

func (h *heap) unlist(b *block) {
	i, ok := slices.BinarySearchFunc(h.free, b, (*block).compare)
	if !ok {
		panic("cuda: heap: a free block is not listed")
	}
	h.free = slices.Delete(h.free, i, i+1)
	b.free = false
}

func (b *block) compare(o *block) int {
	return cmp.Or(cmp.Compare(b.size, o.size), cmp.Compare(b.addr, o.addr))
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// sizeText formats a size for people.
func sizeText(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
