//go:build cuda && cgo && linux

package cuda

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/driver"
)

// child runs in a process of its own.
func child(mode string) {
	switch mode {
	case "idle":
		return // a program that never asks for CUDA
	case "fault":
		faultingChild(func(a ...any) { fmt.Println(a...) })
	case "open":
		n, err := Available()
		fmt.Println("available:", n, err)
		d, err := Open(0)
		if err != nil {
			fmt.Println("open:", err)
			return
		}
		fmt.Println("open:", d.Properties().Name)
		_, err = d.EncodeTensorMap(driver.TensorMap{Type: driver.TensorF32, Addr: 4096, Dims: []uint64{64}, Box: []uint32{64}})
		fmt.Println("tensor map:", err)
		fmt.Println("close:", d.Close())
	}
}

func runChild(t *testing.T, mode string, env ...string) string {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), append(env, childEnv+"="+mode)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.Bytes())
	}
	return string(out) + stderr.String()
}

func TestOpenSaysWhy(t *testing.T) {
	needFake(t)
	for _, c := range []struct {
		name string
		env  []string
		want []string
	}{
		{
			"no driver",
			[]string{"DATAFLEX_LIBCUDA=/nowhere/libcuda.so.1"},
			[]string{"available: 0 cuda: no NVIDIA driver on this machine: /nowhere/libcuda.so.1: cannot open shared object file", "open: cuda: no NVIDIA driver", "cuDeviceGetCount: CUDA_ERROR_NO_DEVICE (100)"},
		},
		{
			"not a driver",
			[]string{"DATAFLEX_LIBCUDA=libm.so.6"},
			[]string{"libm.so.6 is not the NVIDIA driver: it has no cuInit"},
		},
		{
			"no GPU",
			[]string{"FAKECUDA_INIT=100"},
			[]string{"available: 0 cuda: the NVIDIA driver (" + fake + ") sees no GPU"},
		},
		{"no device", []string{"FAKECUDA_DEVICES=0"}, []string{"sees no GPU"}},
		{
			"broken driver",
			[]string{"FAKECUDA_INIT=803"},
			[]string{"cuda: the NVIDIA driver does not start: " + fake + ": cuInit answers error 803"},
		},
		{
			"old driver",
			[]string{"FAKECUDA_VERSION=11040"},
			[]string{"supports CUDA 11.4; CUDA 12.0 or newer is needed (driver R525): update the driver"},
		},
		{
			"old GPU",
			[]string{"FAKECUDA_MAJOR=7"},
			[]string{"available: 2 <nil>", "open: cuda: device 0: Fake H200 #0 has compute capability 7.0; 8.0 (Ampere) or newer is needed"},
		},
		{
			"missing symbol",
			[]string{"DATAFLEX_LIBCUDA=" + fakeOld, "FAKECUDA_VERSION=12000"},
			[]string{"tensor map: cuda: tensor map of [64], box [64], swizzle 0: cuTensorMapEncodeTiled: CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND (302): fake driver; the driver " + fakeOld + " supports CUDA 12.0 and lacks this function", "close: <nil>"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := runChild(t, "open", c.env...)
			for _, w := range c.want {
				if !strings.Contains(out, w) {
					t.Errorf("output lacks %q:\n%s", w, out)
				}
			}
		})
	}
}

// A program that does not use CUDA starts at once and prints nothing about it, whatever is
// wrong with the driver.
func TestIdleProgramDoesNotTouchTheDriver(t *testing.T) {
	for _, lib := range []string{"none", fake} {
		best := time.Hour
		for range 3 {
			start := time.Now()
			if out := runChild(t, "idle", "DATAFLEX_LIBCUDA="+lib, "FAKECUDA_INIT=999"); out != "" {
				t.Errorf("it says %q", out)
			}
			best = min(best, time.Since(start))
		}
		t.Logf("%v with %q", best, lib)
		if best > 2*time.Second { // milliseconds, but the race detector sleeps a second at the end
			t.Errorf("a start takes %v", best)
		}
	}
}

func TestOpen(t *testing.T) {
	needFake(t)
	if n, err := Available(); n != 2 || err != nil {
		t.Fatalf("Available() = %d, %v, want 2", n, err)
	}
	_, err := Open(2)
	wantError(t, err, "cuda: no device 2: there are 2, numbered from 0")
	d := open(t)
	want := Properties{
		Name: "Fake H200 #0", Major: 9, Minor: 0, DriverVersion: 13000, Multiprocessors: 132,
		ClockKHz: 1980000, MemoryClockKHz: 3201000, MemoryBusBits: 6144, L2Bytes: 50 << 20,
		SharedPerBlock: 232448, SharedPerUnit: 233472, RegistersPerUnit: 65536, ThreadsPerUnit: 2048,
		ECC: true, MemoryBytes: 1 << 30,
	}
	if got := d.Properties(); got != want {
		t.Errorf("Properties() = %+v, want %+v", got, want)
	}
	if sm := d.Properties().SM(); sm != 90 {
		t.Errorf("SM() = %d, want 90", sm)
	}
	if a := d.Attributes(); a.Name != "Fake H200 #0" || a.Units != 132 || a.MemoryBytes != 1<<30 || a.Capability != 90 || d.Kind() != driver.CUDA {
		t.Errorf("Attributes() = %+v, Kind() = %v", a, d.Kind())
	}
	if err := d.Synchronize(); err != nil {
		t.Error(err)
	}
}

// Close releases everything that was allocated, including memory that was never freed.
func TestCloseGivesEverythingBack(t *testing.T) {
	needFake(t)
	count := map[string]int{}
	for _, line := range calls(t, func() {
		d := must(Open(0))(t)
		must(d.Alloc(100))(t)
		must(d.Alloc(64 << 20))(t)
		if err := errorsOf(d.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	}) {
		count[strings.Fields(line)[0]]++
	}
	if count["alloc"] != 2 || count["free"] != 2 || count["pin"] != 2 || count["unpin"] != 2 || count["stream"] != 1 || count["destroy"] != 1 || count["release"] != 1 {
		t.Errorf("calls %v", count)
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
