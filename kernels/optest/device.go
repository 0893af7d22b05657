package optest

import (
	"testing"
	"unsafe"

	"dataflex/driver"
	"dataflex/driver/sim"
	"dataflex/kernels/ptx"
)

// Sim returns an interpreter that is closed when the test ends and is given the sm_80
// kernels. Memory nobody has written is a fault to read.
func Sim(t testing.TB) *sim.Device { return interpreter(t, 80) }

// Hopper is Sim with the sm_90a kernels, where a family has them.
func Hopper(t testing.TB) *sim.Device { return interpreter(t, 90) }

func interpreter(t testing.TB, capability int) *sim.Device {
	d := sim.New(sim.Options{Unwritten: true, Capability: capability})
	t.Cleanup(func() {
		ptx.Forget(d)
		d.Close()
	})
	return d
}

// In copies x to the device, at `shift` floats beyond a 64-byte boundary.
func In(t testing.TB, dev driver.Device, x []float32, shift int) driver.F32 {
	t.Helper()
	m, err := dev.Alloc(4 * (len(x) + shift))
	if err != nil {
		t.Fatal(err)
	}
	s := driver.View[float32](m).Sub(shift, shift+len(x))
	if len(x) > 0 {
		if err := dev.CopyIn(memory(s), bytes(x)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Out copies a tensor from the device.
func Out(t testing.TB, dev driver.Device, s driver.F32) []float32 {
	t.Helper()
	x := make([]float32, s.Len())
	if len(x) > 0 {
		if err := dev.CopyOut(bytes(x), memory(s)); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

func memory(s driver.F32) driver.Memory { return driver.DeviceMemory(s.Addr(), 4*s.Len()) }

func bytes(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
