package cuda

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// pool is a source of limited size whose addresses grow.
type pool struct {
	left  int
	next  uintptr
	sizes map[uintptr]int
}

var errDry = errors.New("dry")

func newPool(n int) *pool { return &pool{left: n, next: 1 << 40, sizes: map[uintptr]int{}} }

func (p *pool) alloc(n int) (uintptr, error) {
	if n > p.left {
		return 0, errDry
	}
	p.left -= n
	at := p.next
	p.next += uintptr(n) + 1<<20
	p.sizes[at] = n
	return at, nil
}

func (p *pool) free(addr uintptr) error {
	n, ok := p.sizes[addr]
	if !ok {
		return errors.New("not a segment")
	}
	delete(p.sizes, addr)
	p.left += n
	return nil
}

// For any order of alloc and give, blocks are aligned, lie inside a segment and do not
// overlap, the counters are right, and after everything is freed the free list consists of
// whole segments again.
func TestHeapUnderRandomUse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	p := newPool(1 << 30)
	h := newHeap(p)
	live := map[uintptr]int{}
	var inUse uint64
	for step := range 20000 {
		if r.IntN(2) == 0 || len(live) == 0 {
			n := r.IntN(1 << (5 + r.IntN(18)))
			addr, size, err := h.alloc(n)
			if errors.Is(err, errDry) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if size < n || size < granule || size%granule != 0 || addr%granule != 0 {
				t.Fatalf("step %d: alloc(%d) is %d bytes at %#x", step, n, size, addr)
			}
			for a, s := range live {
				if addr < a+uintptr(s) && a < addr+uintptr(size) {
					t.Fatalf("step %d: %#x+%d overlaps %#x+%d", step, addr, size, a, s)
				}
			}
			live[addr] = size
			inUse += uint64(size)
		} else {
			for a, s := range live {
				h.give(a)
				delete(live, a)
				inUse -= uint64(s)
				break
			}
		}
		if h.inUse != inUse || h.high < inUse || h.held < inUse {
			t.Fatalf("step %d: in use %d, want %d; high %d, held %d", step, h.inUse, inUse, h.high, h.held)
		}
	}
	for a := range live {
		h.give(a)
	}
	if len(h.free) != len(p.sizes) {
		t.Errorf("%d free blocks in %d segments after everything came back", len(h.free), len(p.sizes))
	}
	for _, b := range h.free {
		if p.sizes[b.addr] != b.size {
			t.Errorf("a free block of %d at %#x, the segment has %d", b.size, b.addr, p.sizes[b.addr])
		}
	}
	if err := h.close(); err != nil || h.held != 0 || len(p.sizes) != 0 {
		t.Errorf("after close: %v, %d held, %d segments", err, h.held, len(p.sizes))
	}
}

func TestHeapTakesTheSmallestBlockThatFits(t *testing.T) {
	h := newHeap(newPool(1 << 30))
	var addr [6]uintptr
	for i, n := range []int{4096, 512, 1024, 512, 2048, 512} {
		addr[i], _, _ = h.alloc(n)
	}
	h.give(addr[0]) // free: 4096, then 1024, 2048 and the rest of the segment
	h.give(addr[2])
	h.give(addr[4])
	for _, c := range []struct {
		n    int
		want uintptr
	}{{1000, addr[2]}, {1025, addr[4]}, {2049, addr[0]}, {1, addr[4] + 1536}} {
		if got, _, _ := h.alloc(c.n); got != c.want {
			t.Errorf("alloc(%d) = %#x, want %#x", c.n, got, c.want)
		}
	}
}

func TestHeapLargeBlocksHaveTheirOwnSegments(t *testing.T) {
	p := newPool(1 << 30)
	h := newHeap(p)
	a, _, _ := h.alloc(segmentSize + 1)
	if p.sizes[a] != segmentSize+segmentStep {
		t.Errorf("a segment of %d", p.sizes[a])
	}
	h.alloc(100) // fits in the space freed by the large block
	if len(p.sizes) != 1 {
		t.Errorf("%d segments", len(p.sizes))
	}
}

func TestHeapReleasesEmptySegmentsWhenTheSourceIsDry(t *testing.T) {
	p := newPool(2 * segmentSize)
	h := newHeap(p)
	a, _, _ := h.alloc(segmentSize)
	b, _, _ := h.alloc(segmentSize)
	h.give(a)
	h.give(b)
	if _, _, err := h.alloc(2 * segmentSize); err != nil {
		t.Errorf("two empty segments, and: %v", err)
	}
	if _, _, err := h.alloc(1); !errors.Is(err, errDry) {
		t.Errorf("with nothing left: %v", err)
	}
	if h.inUse != 2*segmentSize || h.held != 2*segmentSize {
		t.Errorf("%d in use, %d held", h.inUse, h.held)
	}
}

func TestHeapRefusesWhatItDidNotHandOut(t *testing.T) {
	h := newHeap(newPool(1 << 30))
	a, _, _ := h.alloc(10)
	h.give(a)
	for _, addr := range []uintptr{a, 12345} {
		func() {
			defer func() {
				if s, _ := recover().(string); !strings.Contains(s, "which Alloc did not return or Free had already") {
					t.Errorf("give(%#x): %q", addr, s)
				}
			}()
			h.give(addr)
		}()
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 1023: "1023 bytes", 3 << 19: "1.50 MiB", 5 << 29: "2.50 GiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("sizeText(%d) = %q, want %q", n, got, want)
		}
	}
}
