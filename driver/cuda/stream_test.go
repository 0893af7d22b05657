//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"dataflex.dev/dataflex/driver"
)

// Work of two streams is only ordered by events.
func TestStreamsAreOrderedByEvents(t *testing.T) {
	d := open(t)
	f := kernel(t, d, "axpy")
	x, y := floats(t, d, 1), floats(t, d, 0)
	if err := d.Synchronize(); err != nil {
		t.Fatal(err)
	}
	first, second := must(d.NewStream())(t), must(d.NewStream())(t)
	e := must(d.NewEvent())(t)
	var args driver.Args
	launch := func(s driver.Stream, y, x driver.F32, a float32) {
		t.Helper()
		if err := d.Launch(f, driver.Config{Stream: s}, axpyArgs(&args, y, x, a)); err != nil {
			t.Fatal(err)
		}
	}
	launch(first, x, x, 4) // x = 5
	if err := errorsOf(first.Record(e), second.Wait(e)); err != nil {
		t.Fatal(err)
	}
	launch(second, y, x, 2) // y = 2x = 10
	if err := second.Synchronize(); err != nil {
		t.Fatal(err)
	}
	if got := fetch(t, d, y); got[0] != 10 {
		t.Errorf("y = %v, want 10: the second stream did not wait", got)
	}
	// Without the event the second stream does not wait.
	launch(first, x, x, 1) // x = 10, later
	launch(second, y, x, 1)
	if err := second.Synchronize(); err != nil {
		t.Fatal(err)
	}
	if got := fetch(t, d, y); got[0] != 15 {
		t.Errorf("y = %v, want 15", got)
	}
	if err := errorsOf(first.Synchronize(), first.Close(), second.Close(), e.Close()); err != nil {
		t.Error(err)
	}
}

// The device's own queue can wait for a stream.
func TestQueueWaitsForAStream(t *testing.T) {
	d := open(t)
	f := kernel(t, d, "axpy")
	x, y := floats(t, d, 3), floats(t, d, 1)
	s, e := must(d.NewStream())(t), must(d.NewEvent())(t)
	var args driver.Args
	if err := errorsOf(d.Queue().Record(e), s.Wait(e),
		d.Launch(f, driver.Config{Stream: s}, axpyArgs(&args, y, x, 2)),
		s.Record(e), d.Queue().Wait(e)); err != nil {
		t.Fatal(err)
	}
	if got := fetch(t, d, y); got[0] != 7 {
		t.Errorf("y = %v, want 7", got)
	}
	if err := errorsOf(d.Queue().Synchronize(), d.Queue().Close(), s.Close(), e.Close()); err != nil {
		t.Error(err)
	}
}

// Another library gets the queue with the context current, and Busy reports when the queue
// is empty.
func TestShare(t *testing.T) {
	d := open(t)
	failed := errors.New("failed")
	if err := d.Share(func(queue unsafe.Pointer) error {
		if queue != unsafe.Pointer(streamHandle(d.queue)) {
			t.Error("another queue")
		}
		return failed
	}); !errors.Is(err, failed) {
		t.Errorf("the error became %v", err)
	}
	if err := d.Launch(kernel(t, d, "tick"), driver.Config{}, &driver.Args{}); err != nil {
		t.Fatal(err)
	}
	if busy, err := d.Busy(); !busy || err != nil {
		t.Errorf("with work queued: %v, %v", busy, err)
	}
	if busy, err := d.Busy(); busy || err != nil { // the fake completes its work when it is asked again
		t.Errorf("when it has ended: %v, %v", busy, err)
	}
}

func TestEventsKeepTime(t *testing.T) {
	d := open(t)
	f := kernel(t, d, "tick")
	from, to := must(d.NewEvent())(t), must(d.NewEvent())(t)
	if err := d.Queue().Record(from); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := d.Launch(f, driver.Config{}, &driver.Args{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Queue().Record(to); err != nil {
		t.Fatal(err)
	}
	_, err := to.Since(from)
	wantError(t, err, "cuEventElapsedTime: CUDA_ERROR_NOT_READY (600)")
	if err := to.Synchronize(); err != nil {
		t.Fatal(err)
	}
	if got := must(to.Since(from))(t); got != 3*time.Millisecond {
		t.Errorf("three kernels took %v, want 3ms", got)
	}
}

func TestEncodeTensorMap(t *testing.T) {
	d := open(t)
	var m driver.EncodedTensorMap
	lines := calls(t, func() {
		m = must(d.EncodeTensorMap(driver.TensorMap{
			Type: driver.TensorBF16, Addr: 0x7000, Dims: []uint64{4096, 128}, Strides: []uint64{8192}, Box: []uint32{64, 128}, Swizzle: 128,
		}))(t)
	})
	want := "tensor map type 9 rank 2 addr 0x7000 [4096 8192 64 1] [128 0 128 1] interleave 0 swizzle 3 promotion 3 fill 0"
	if !slices.Equal(lines, []string{want}) {
		t.Errorf("calls %q, want %q", lines, want)
	}
	for i, b := range m {
		if b != byte(i) {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
	_, err := d.EncodeTensorMap(driver.TensorMap{Type: driver.TensorF32, Addr: 8, Dims: []uint64{4}, Box: []uint32{4}})
	wantError(t, err, "cuda: tensor map: address 0x8 is not a multiple of 16")
}

func TestGraph(t *testing.T) {
	d := open(t)
	f := kernel(t, d, "axpy")
	x, y := floats(t, d, 1), floats(t, d, 0)
	var g Graph
	lines := calls(t, func() {
		g = must(d.Capture(func() error {
			var args driver.Args
			return errorsOf(d.Launch(f, driver.Config{}, axpyArgs(&args, y, x, 1)), d.Launch(f, driver.Config{}, axpyArgs(&args, x, x, 1)))
		}))(t)
	})
	if len(lines) != 5 || !strings.HasSuffix(lines[0], "mode 1") || lines[4] != "destroy graph" {
		t.Errorf("calls %q", lines)
	}
	if got := fetch(t, d, y); got[0] != 0 {
		t.Errorf("y = %v: captured work ran", got)
	}
	for range 3 { // y += x; x *= 2
		if err := g.Launch(); err != nil {
			t.Fatal(err)
		}
	}
	if got := fetch(t, d, y); got[0] != 7 {
		t.Errorf("y = %v after three rounds, want 7", got)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func TestCaptureRefusesWhatCannotBeRecorded(t *testing.T) {
	d := open(t)
	m := must(d.Alloc(10))(t)
	for want, call := range map[string]func() error{
		"Alloc inside Capture":       func() error { _, err := d.Alloc(10); return err },
		"CopyIn inside Capture":      func() error { return d.CopyIn(m, make([]byte, 1)) },
		"CopyOut inside Capture":     func() error { return d.CopyOut(make([]byte, 1), m) },
		"Synchronize inside Capture": d.Synchronize,
		"Capture inside Capture":     func() error { _, err := d.Capture(nil); return err },
	} {
		lines := calls(t, func() {
			_, err := d.Capture(call)
			wantError(t, err, "cuda: capture: cuda: "+want)
		})
		if !slices.Equal(lines[1:], []string{"end capture", "destroy graph"}) {
			t.Errorf("after a failed recording: %q", lines)
		}
	}
	if err := d.CopyIn(m, make([]byte, 10)); err != nil {
		t.Errorf("after a failed capture: %v", err)
	}
}

// Each driver call is made to fail once, and the error names it.
func TestEveryCallIsChecked(t *testing.T) {
	needFake(t)
	for _, call := range []string{
		"cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem_v2", "cuDeviceGetAttribute", "cuDevicePrimaryCtxRetain",
		"cuDevicePrimaryCtxRelease_v2", "cuCtxSetCurrent", "cuCtxSynchronize", "cuMemAlloc_v2", "cuMemFree_v2", "cuMemHostAlloc", "cuMemFreeHost",
		"cuMemsetD32Async", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamCreate", "cuStreamDestroy_v2", "cuStreamSynchronize", "cuStreamQuery", "cuMemcpyDtoDAsync_v2",
		"cuStreamWaitEvent", "cuEventCreate", "cuEventDestroy_v2", "cuEventRecord", "cuEventSynchronize", "cuEventElapsedTime",
		"cuModuleLoadDataEx", "cuModuleGetFunction", "cuModuleUnload", "cuFuncGetAttribute", "cuFuncSetAttribute", "cuLaunchKernel",
		"cuTensorMapEncodeTiled", "cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphDestroy",
		"cuGraphLaunch", "cuGraphExecDestroy",
	} {
		os.Setenv("FAKECUDA_FAIL", call+"=999")
		err := everything()
		os.Unsetenv("FAKECUDA_FAIL")
		name, _, _ := strings.Cut(call, "_v")
		if err == nil || !strings.Contains(err.Error(), name+": CUDA_ERROR_UNKNOWN (999): fake driver") {
			t.Errorf("%s fails: error %v", call, err)
		}
	}
	if err := everything(); err != nil {
		t.Error(err)
	}
}

// everything makes each kind of driver call at least once and stops at the first error.
func everything() (err error) {
	d, err := Open(0)
	if err != nil {
		return err
	}
	defer func() { err = errorsOf(err, d.Close()) }()
	m, err := d.Alloc(100)
	if err != nil {
		return err
	}
	mod, err := d.LoadModule("test.ptx", []byte(ptx))
	if err != nil {
		return err
	}
	f, err := mod.Function("tiles")
	if err != nil {
		return err
	}
	s, err := d.NewStream()
	if err != nil {
		return err
	}
	e, err := d.NewEvent()
	if err != nil {
		return err
	}
	tm, err := d.EncodeTensorMap(driver.TensorMap{Type: driver.TensorF32, Addr: m.Addr(), Dims: []uint64{16}, Box: []uint32{16}})
	if err != nil {
		return err
	}
	args := (&driver.Args{}).U64(uint64(tm[0]))
	g, err := d.Capture(func() error { return d.Launch(f, driver.Config{Shared: 100 << 10}, args) })
	if err != nil {
		return err
	}
	if err := errorsOf(d.CopyIn(m, make([]byte, 100)), s.Record(e), d.Queue().Wait(e), g.Launch(), d.CopyOut(make([]byte, 100), m), s.Synchronize(), e.Synchronize()); err != nil {
		return err
	}
	if _, err := e.Since(e); err != nil {
		return err
	}
	if _, err := d.Busy(); err != nil {
		return err
	}
	b := driver.View[uint8](m)
	return errorsOf(d.Copy(b.Sub(0, 40).Memory(), b.Sub(50, 90).Memory()), g.Close(), e.Close(), s.Close(), mod.Unload(), d.Synchronize())
}
