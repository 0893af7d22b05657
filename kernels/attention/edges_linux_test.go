package attention_test

import (
	"fmt"
	"syscall"
	"testing"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/optest"
)

// atEdge is x in memory between pages that may not be touched, up to the end of its last page.
func atEdge[T float32 | driver.BF16](t *testing.T, x []T) driver.Slice[T] {
	t.Helper()
	page, size := syscall.Getpagesize(), len(x)*int(unsafe.Sizeof(x[0]))
	inside := (size + page - 1) / page * page
	m, err := syscall.Mmap(-1, 0, inside+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(m) })
	for _, outside := range [][]byte{m[:page], m[page+inside:]} {
		if err := syscall.Mprotect(outside, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	y := unsafe.Slice((*T)(unsafe.Pointer(&m[page+inside-size])), len(x))
	copy(y, x)
	return driver.FromHost(y)
}

// TestBF16UnitsAtEdges: the loads of whole vectors and tiles stay within the tensors, also where
// these end at the end of a mapping. The results are those of other memory.
func TestBF16UnitsAtEdges(t *testing.T) {
	forUnits(t, func(t *testing.T) {
		dev := optest.CPU(t, 2)
		for i, p := range []attention.Params{
			{Segments: []int32{0, 1, 30, 159}, Heads: 4, KVHeads: 2, HeadDim: 8},
			{Segments: []int32{0, 29, 158}, Heads: 3, KVHeads: 1, HeadDim: 24, Window: 33},
			{Segments: []int32{0, 27, 28}, Heads: 14, KVHeads: 2, HeadDim: 64},
			{Segments: []int32{0, 129}, Heads: 1, KVHeads: 1, HeadDim: 80, Window: 2},
			{Segments: []int32{0, 2, 35}, Heads: 2, KVHeads: 2, HeadDim: 96},
			{Segments: []int32{0, 33}, Heads: 2, KVHeads: 1, HeadDim: 256},
		} {
			x := newBF16(uint64(80+i), p, 1)
			half := func(x []float32) driver.Slice[driver.BF16] { return atEdge(t, halves(x)) }
			tokens := int(p.Segments[len(p.Segments)-1])
			in := attention.Inputs[driver.BF16]{Q: half(x.q), K: half(x.k), V: half(x.v)}
			o, lse := atEdge(t, garbage(len(x.q))), atEdge(t, garbage(p.Heads*tokens))
			d := attention.Gradients{Q: atEdge(t, garbage(len(x.q))), K: atEdge(t, garbage(len(x.k))), V: atEdge(t, garbage(len(x.k)))}
			attention.ForwardBF16(dev, x.p, in, o, lse)
			attention.BackwardBF16(dev, x.p, in, o, lse, half(x.do), d)
			same(t, fmt.Sprintf("%+v", p), result{o.Host(), lse.Host(), d.Q.Host(), d.K.Host(), d.V.Host(), nil}, onHost(dev, x))
		}
	})
}
