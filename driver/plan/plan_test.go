package plan_test

import (
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/reduce"
)

// TestCounts: memory is counted and never overlaps, reads as zeros, and the device has the
// attributes of the planned one.
func TestCounts(t *testing.T) {
	for _, like := range []driver.Device{cpu.New(3), sim.New(sim.Options{Capability: 90, Units: 132})} {
		d := plan.New(like)
		if d.Kind() != like.Kind() || d.Attributes() != like.Attributes() {
			t.Errorf("%v %+v", d.Kind(), d.Attributes())
		}
		var end uintptr
		var all []driver.Memory
		for _, n := range []int{1, 256, 0, 1 << 40, 7} { // including more than the machine has
			m, err := d.Alloc(n)
			if err != nil {
				t.Fatal(err)
			}
			if m.Addr() < end || m.Addr()%256 != 0 || m.Size() != n {
				t.Errorf("%d bytes at %#x after %#x", m.Size(), m.Addr(), end)
			}
			end = m.Addr() + uintptr(n)
			all = append(all, m)
		}
		d.Free(all[3])
		if d.Used() != 264 || d.HighWater() != 264+1<<40 {
			t.Errorf("%d bytes used, %d at most", d.Used(), d.HighWater())
		}
		// No kernel is needed: nothing is executed, and results are zero.
		x := driver.View[float32](all[1])
		reduce.Fill(d, 3, x)
		if s := reduce.SumSquares(d, x); s != 0 {
			t.Errorf("a sum of %v", s)
		}
		got, err := driver.Read(d, x)
		if err != nil || len(got) != 64 || got[5] != 0 {
			t.Errorf("%d elements, %v", len(got), err)
		}
		like.Close()
	}
}

// TestGrids: a plan refuses the grids that no GPU launches.
func TestGrids(t *testing.T) {
	gpu := sim.New(sim.Options{})
	defer gpu.Close()
	d := plan.New(gpu)
	m, err := d.LoadModule("m", nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := m.Function("f")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		grid driver.Dim
		ok   bool
	}{{driver.Dim{X: 1<<31 - 1, Y: 65535, Z: 65535}, true}, {driver.Dim{X: 1, Y: 65536}, false}, {driver.Dim{X: 1, Z: 65536}, false}, {driver.Dim{X: 1 << 31}, false}} {
		if err := d.Launch(f, driver.Config{Grid: c.grid}, nil); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.grid, err)
		}
	}
}
