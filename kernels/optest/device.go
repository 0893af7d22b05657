package optest

import (
	"os"
	"testing"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cuda"
	"dataflex.dev/dataflex/driver/sim"
)

// DeviceEnv names the device for tests that call Device: sim (the default) or cuda. Only
// binaries built with the tag cuda can use a GPU.
const DeviceEnv = "DATAFLEX_TEST_DEVICE"

// Device returns a device that runs PTX, closed when the test ends: the interpreter, or the
// GPU if DeviceEnv is cuda. With capability 80 it uses the sm_80 kernels, also on a Hopper
// GPU; with 90 the sm_90a kernels of families that have them, and the test is skipped on a
// GPU that cannot run those.
func Device(t testing.TB, capability int) driver.Launcher { return Multiprocessors(t, capability, 0) }

// Units are numbers of multiprocessors for tests of kernels with persistent grids: with 2 a
// block gets several tiles and small products choose wide tiles, with 7 tiles are
// distributed unevenly, 132 is the number of an H100 and an H200.
var Units = []int{2, 7, 132}

// Multiprocessors is Device with that many multiprocessors, which determine tiles and grids;
// 0 is the device's own number.
func Multiprocessors(t testing.TB, capability, units int) driver.Launcher {
	if !onGPU(t) {
		d := interpreter(t, sim.Options{Capability: capability, Units: units})
		t.Cleanup(func() { record(d) })
		return d
	}
	gpu, err := cuda.Open(0)
	if err != nil {
		t.Fatalf("%s=cuda: %v", DeviceEnv, err)
	}
	d := &asCapability{Launcher: gpu, capability: capability, units: units}
	t.Cleanup(func() {
		if err := gpu.Close(); err != nil {
			t.Error(err)
		}
	})
	if has := gpu.Attributes().Capability; capability == 90 && has != 90 {
		t.Skipf("sm_90a kernels only run on compute capability 9.0, %s has %d", gpu.Attributes().Name, has)
	}
	return d
}

// asCapability is a GPU that reports another generation, or size.
type asCapability struct {
	driver.Launcher
	capability, units int
	own               driver.Attachment
}

// Attached is separate from the GPU's: the kernels that are launched depend on the
// capability.
func (d *asCapability) Attached() *any { return d.own.Attached() }

func (d *asCapability) Attributes() driver.Attributes {
	a := d.Launcher.Attributes()
	a.Capability = d.capability
	if d.units > 0 {
		a.Units = d.units
	}
	return a
}

func onGPU(t testing.TB) bool {
	switch v := os.Getenv(DeviceEnv); v {
	case "", "sim":
		return false
	case "cuda":
		return true
	default:
		t.Fatalf("%s=%s: sim or cuda", DeviceEnv, v)
		return false
	}
}

// Sim returns the interpreter with the sm_80 kernels, for tests that read its counters or
// rely on its checks; they are skipped if DeviceEnv requests a GPU. Reading memory that was
// not written is a fault.
func Sim(t testing.TB) *sim.Device { return counting(t, 80) }

// Hopper is Sim with the sm_90a kernels of families that have them.
func Hopper(t testing.TB) *sim.Device { return counting(t, 90) }

func counting(t testing.TB, capability int) *sim.Device {
	if onGPU(t) {
		t.Skip("only the interpreter counts")
	}
	return interpreter(t, sim.Options{Capability: capability})
}

func interpreter(t testing.TB, o sim.Options) *sim.Device {
	o.Unwritten = true
	d := sim.New(o)
	t.Cleanup(func() { d.Close() })
	return d
}

// In copies x to the device, `shift` floats after a 64-byte boundary.
func In(t testing.TB, dev driver.Device, x []float32, shift int) driver.F32 {
	t.Helper()
	m, err := dev.Alloc(4 * (len(x) + shift))
	if err != nil {
		t.Fatal(err)
	}
	s := driver.View[float32](m).Sub(shift, shift+len(x))
	if len(x) > 0 {
		if err := dev.CopyIn(s.Memory(), bytes(x)); err != nil {
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
		if err := dev.CopyOut(bytes(x), s.Memory()); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

func bytes(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}
