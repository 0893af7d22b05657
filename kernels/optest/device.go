package optest

import (
	"os"
	"testing"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cuda"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/ptx"
)

// DeviceEnv names the device on which the tests that call Device run: sim, which it is
// when unset, or cuda. Only binaries built with the tag cuda have a GPU to offer.
const DeviceEnv = "DATAFLEX_TEST_DEVICE"

// Device returns what runs PTX in this test, closed when the test ends: the interpreter,
// or the GPU if DeviceEnv says cuda. With capability 80 it is given the sm_80 kernels,
// on a Hopper GPU too; with 90 the sm_90a ones where a family has them, and the test is
// skipped on a GPU that does not run those.
func Device(t testing.TB, capability int) driver.Launcher {
	if !onGPU(t) {
		return interpreter(t, capability)
	}
	gpu, err := cuda.Open(0)
	if err != nil {
		t.Fatalf("%s=cuda: %v", DeviceEnv, err)
	}
	d := &asCapability{gpu, capability}
	t.Cleanup(func() {
		ptx.Forget(d)
		if err := gpu.Close(); err != nil {
			t.Error(err)
		}
	})
	if has := gpu.Attributes().Capability; capability == 90 && has != 90 {
		t.Skipf("sm_90a kernels run on compute capability 9.0 alone, %s has %d", gpu.Attributes().Name, has)
	}
	return d
}

// asCapability is a GPU that says it is of another generation.
type asCapability struct {
	driver.Launcher
	capability int
}

func (d *asCapability) Attributes() driver.Attributes {
	a := d.Launcher.Attributes()
	a.Capability = d.capability
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

// Sim returns the interpreter with the sm_80 kernels, for tests that read its counters
// or rely on its checks; they are skipped where DeviceEnv asks for a GPU. Memory nobody
// has written is a fault to read.
func Sim(t testing.TB) *sim.Device { return counting(t, 80) }

// Hopper is Sim with the sm_90a kernels, where a family has them.
func Hopper(t testing.TB) *sim.Device { return counting(t, 90) }

func counting(t testing.TB, capability int) *sim.Device {
	if onGPU(t) {
		t.Skip("only the interpreter counts")
	}
	return interpreter(t, capability)
}

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
