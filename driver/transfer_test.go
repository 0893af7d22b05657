package driver_test

import (
	"errors"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
)

// Data come back as they were written, also from the middle of an allocation, and only host
// memory is returned without a copy.
func TestTransfers(t *testing.T) {
	for _, dev := range []driver.Device{cpu.New(1), sim.New(sim.Options{})} {
		mem, err := dev.Alloc(4 * 10)
		if err != nil {
			t.Fatal(err)
		}
		all := driver.View[int32](mem)
		if err := driver.Upload(dev, all, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}); err != nil {
			t.Fatal(err)
		}
		middle := all.Sub(3, 7)
		if middle.Memory().Size() != 16 {
			t.Errorf("%v: 4 int32 are %d bytes", dev.Kind(), middle.Memory().Size())
		}
		got, err := driver.Read(dev, middle)
		if err != nil || !slices.Equal(got, []int32{3, 4, 5, 6}) {
			t.Errorf("%v: %v, %v", dev.Kind(), got, err)
		}
		if err := driver.Write(dev, middle, func(x []int32) error { copy(x, []int32{-3, -4, -5, -6}); return nil }); err != nil {
			t.Fatal(err)
		}
		got[0] = 100
		want := []int32{0, 1, 2, -3, -4, -5, -6, 7, 8, 9}
		if dev.Kind() == driver.CPU {
			want[3] = 100
		}
		if got, err := driver.Read(dev, all); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: %v, %v, want %v", dev.Kind(), got, err, want)
		}
		failed := errors.New("failed")
		if err := driver.Write(dev, middle, func([]int32) error { return failed }); !errors.Is(err, failed) {
			t.Errorf("%v: fill's error became %v", dev.Kind(), err)
		}
		if x, err := driver.Read(dev, driver.I32{}); x != nil || err != nil {
			t.Errorf("%v: the nil slice reads %v, %v", dev.Kind(), x, err)
		}
		dev.Close()
	}
}

// Copy moves a part of one allocation into another, on the device.
func TestCopy(t *testing.T) {
	for _, dev := range []driver.Device{cpu.New(1), sim.New(sim.Options{})} {
		placed, release, err := driver.Place(dev, []float32{1, 2, 3, 4}, []float32{5, 6, 7})
		if err != nil {
			t.Fatal(err)
		}
		if err := driver.Copy(dev, placed[1].Sub(1, 3), placed[0].Sub(2, 4)); err != nil {
			t.Fatal(err)
		}
		if got, err := driver.Read(dev, placed[1]); err != nil || !slices.Equal(got, []float32{5, 3, 4}) {
			t.Errorf("%v: %v, %v", dev.Kind(), got, err)
		}
		release()
		dev.Close()
	}
}

// Placed slices are the slices themselves on the host, and copies that can be freed
// elsewhere.
func TestPlace(t *testing.T) {
	for _, dev := range []driver.Device{cpu.New(1), sim.New(sim.Options{})} {
		x, y := []float32{1, 2, 3}, []float32{4}
		placed, release, err := driver.Place(dev, x, y)
		if err != nil {
			t.Fatal(err)
		}
		x[0] = 7
		want := []float32{1, 2, 3}
		if dev.Kind() == driver.CPU {
			want[0] = 7
		}
		if got, err := driver.Read(dev, placed[0]); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: %v, %v", dev.Kind(), got, err)
		}
		if got, err := driver.Read(dev, placed[1]); err != nil || !slices.Equal(got, y) {
			t.Errorf("%v: %v, %v", dev.Kind(), got, err)
		}
		release()
		if dev.Used() != 0 {
			t.Errorf("%v: %d bytes in use", dev.Kind(), dev.Used())
		}
		dev.Close()
	}
}
