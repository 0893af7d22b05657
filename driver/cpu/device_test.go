package cpu

import (
	"bytes"
	"math"
	"testing"
	"unsafe"

	"dataflex.dev/dataflex/driver"
)

func TestAllocIsAlignedZeroedAndCounted(t *testing.T) {
	d := New(1)
	defer d.Close()
	var held []driver.Memory
	total := 0
	for _, n := range []int{0, 1, 63, 64, 65, 4096} {
		m, err := d.Alloc(n)
		if err != nil {
			t.Fatal(err)
		}
		h := driver.View[uint8](m).Host()
		if len(h) != n || !bytes.Equal(h, make([]byte, n)) {
			t.Errorf("Alloc(%d): %d bytes, or not zeroed", n, len(h))
		}
		if n > 0 && uintptr(unsafe.Pointer(&h[0]))%64 != 0 {
			t.Errorf("Alloc(%d) is not 64-byte aligned", n)
		}
		held, total = append(held, m), total+n
	}
	if d.Used() != uint64(total) {
		t.Errorf("Used %d, want %d", d.Used(), total)
	}
	for _, m := range held {
		d.Free(m)
	}
	if d.Used() != 0 || d.HighWater() != uint64(total) {
		t.Errorf("after Free: Used %d, HighWater %d, want 0, %d", d.Used(), d.HighWater(), total)
	}
}

func TestAllocRefusesTheImpossible(t *testing.T) {
	d := New(1)
	defer d.Close()
	if _, err := d.Alloc(-1); err == nil {
		t.Error("a negative size was allocated")
	}
	if memoryBytes() > 0 {
		if _, err := d.Alloc(math.MaxInt64); err == nil {
			t.Error("more than the machine has was allocated")
		}
	}
}

func TestCopiesAreChecked(t *testing.T) {
	d := New(1)
	defer d.Close()
	m, err := d.Alloc(4)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.CopyIn(m, []byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if err := d.CopyOut(got, m); err != nil || !bytes.Equal(got, []byte{1, 2, 3, 0}) {
		t.Errorf("CopyOut: %v, %v", got, err)
	}
	if d.CopyIn(m, make([]byte, 5)) == nil || d.CopyOut(make([]byte, 5), m) == nil {
		t.Error("a copy of 5 bytes and 4 bytes of memory went through")
	}
}
