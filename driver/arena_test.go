package driver_test

import (
	"testing"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
)

func TestArenaHandsOutDisjointAlignedMemory(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	a := driver.NewArena(dev)
	defer a.Close()
	var slices [][]float32
	for i, n := range []int{1, 16, 17, 1 << 22, 3, 5 << 20, 0, 100} {
		s, err := a.F32(n)
		if err != nil {
			t.Fatal(err)
		}
		h := s.Host()
		if len(h) != n {
			t.Fatalf("F32(%d) has %d floats", n, len(h))
		}
		if n > 0 && uintptr(unsafe.Pointer(&h[0]))%64 != 0 {
			t.Errorf("F32(%d) is not 64-byte aligned", n)
		}
		for j := range h {
			h[j] = float32(i)
		}
		slices = append(slices, h)
	}
	for i, h := range slices {
		for j, v := range h {
			if v != float32(i) {
				t.Fatalf("slice %d, float %d was overwritten by slice %v", i, j, v)
			}
		}
	}
}

func TestArenaAllocatesNothingTheSecondTime(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	a := driver.NewArena(dev)
	step := func() {
		a.Reset()
		for _, n := range []int{1000, 3 << 20, 2 << 20, 7} {
			if _, err := a.F32(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	step()
	used := dev.Used()
	if n := testing.AllocsPerRun(5, step); n > 0 || dev.Used() != used {
		t.Errorf("%v allocations, device memory %d -> %d", n, used, dev.Used())
	}
	a.Close()
	if dev.Used() != 0 {
		t.Errorf("%d bytes in use after Close", dev.Used())
	}
}

func TestArenaReleaseGoesBackToTheMark(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	a := driver.NewArena(dev)
	defer a.Close()
	kept, err := a.F32(16)
	if err != nil {
		t.Fatal(err)
	}
	kept.Host()[0] = 7
	mark := a.Mark()
	first, err := a.F32(64)
	if err != nil {
		t.Fatal(err)
	}
	a.Release(mark)
	second, err := a.F32(32)
	if err != nil {
		t.Fatal(err)
	}
	if &first.Host()[0] != &second.Host()[0] {
		t.Error("released memory was not handed out again")
	}
	if kept.Host()[0] != 7 {
		t.Error("memory from before the mark was touched")
	}
	if a.HighWater() != 4*(16+64) {
		t.Errorf("HighWater %d bytes, want %d", a.HighWater(), 4*(16+64))
	}
}
