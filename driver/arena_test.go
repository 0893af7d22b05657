package driver_test

import (
	"math/rand/v2"
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
	step() // replaces the pieces by one
	used := dev.Used()
	if n := testing.AllocsPerRun(5, step); n > 0 || dev.Used() != used {
		t.Errorf("%v allocations, device memory %d -> %d", n, used, dev.Used())
	}
	a.Close()
	if dev.Used() != 0 {
		t.Errorf("%d bytes in use after Close", dev.Used())
	}
}

// TestArenaTakesWhatTheLargestPassTakes: whatever the order of the passes' sizes, the arena
// is one allocation of the largest size so far as soon as the next pass begins.
func TestArenaTakesWhatTheLargestPassTakes(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	a := driver.NewArena(dev)
	defer a.Close()
	r := rand.New(rand.NewPCG(1, 2))
	var largest uint64
	for range 40 {
		a.Reset()
		if used := dev.Used(); used > max(largest, 16<<20) {
			t.Fatalf("%d bytes for passes of at most %d", used, largest)
		}
		unit, pass := 1+r.IntN(1<<20), uint64(0)
		for _, width := range []int{3, 1, 7, 1, 2, 5} {
			if _, err := a.F32(unit * width); err != nil {
				t.Fatal(err)
			}
			pass += uint64(4 * ((unit*width + 15) / 16 * 16))
		}
		if largest = max(largest, pass); a.HighWater() != largest {
			t.Fatalf("high water %d, want %d", a.HighWater(), largest)
		}
	}
}

// TestArenaReserve: passes within the reserved size allocate nothing.
func TestArenaReserve(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	a := driver.NewArena(dev)
	defer a.Close()
	if _, err := a.F32(100); err != nil {
		t.Fatal(err)
	}
	a.Reset()
	const reserved = 4 * 5_000_016
	if err := a.Reserve(reserved); err != nil || dev.Used() != reserved {
		t.Fatalf("%d bytes, %v", dev.Used(), err)
	}
	for _, n := range []int{1000, 5_000_000, 30} {
		a.Reset()
		for range 5 {
			if _, err := a.F32(n / 5); err != nil {
				t.Fatal(err)
			}
		}
		if dev.Used() != reserved {
			t.Errorf("%d floats: %d bytes, %d were reserved", n, dev.Used(), reserved)
		}
	}
}
