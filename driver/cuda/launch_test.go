//go:build cuda && cgo && linux

package cuda

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"dataflex.dev/dataflex/driver"
)

func kernel(tb testing.TB, d *Device, name string) driver.Function {
	tb.Helper()
	m := must(d.LoadModule("test.ptx", []byte(ptx)))(tb)
	return must(m.Function(name))(tb)
}

func floats(tb testing.TB, d *Device, v ...float32) driver.F32 {
	tb.Helper()
	m := must(d.Alloc(4 * len(v)))(tb)
	if err := d.CopyIn(m, unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))); err != nil {
		tb.Fatal(err)
	}
	return driver.View[float32](m)
}

func fetch(tb testing.TB, d *Device, s driver.F32) []float32 {
	tb.Helper()
	v := make([]float32, s.Len())
	if err := d.CopyOut(unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v)), driver.DeviceMemory(s.Addr(), 4*len(v))); err != nil {
		tb.Fatal(err)
	}
	return v
}

func axpyArgs(a *driver.Args, y, x driver.F32, scale float32) *driver.Args {
	return a.Reset().Addr(y.Addr()).Addr(x.Addr()).F32(scale).I32(int32(y.Len()))
}

func TestLaunch(t *testing.T) {
	d := open(t)
	f := kernel(t, d, "axpy")
	if f.Name() != "axpy" {
		t.Errorf("Name() = %q", f.Name())
	}
	if got, want := f.Attributes(), (driver.FunctionAttributes{Registers: 40, SharedBytes: 1024, MaxThreads: 256, ParamBytes: 24}); got != want {
		t.Errorf("Attributes() = %+v, want %+v", got, want)
	}
	x, y := floats(t, d, 1, 2, 3, 4), floats(t, d, 10, 20, 30, 40)
	var args driver.Args
	lines := calls(t, func() {
		// The arguments may change as soon as Launch returns.
		for _, scale := range []float32{2, 0.5} {
			if err := d.Launch(f, driver.Config{Grid: driver.Dim{X: 3, Y: 2}, Block: driver.Dim{X: 32}, Shared: 100}, axpyArgs(&args, y, x, scale)); err != nil {
				t.Fatal(err)
			}
		}
	})
	packed := func(p uintptr) string {
		return hex.EncodeToString(binaryUint64(uint64(p)))
	}
	want := fmt.Sprintf("launch axpy grid 3,2,1 block 32,1,1 shared 100 stream %s args [%s %s 00000040 04000000]",
		streamOf(lines[0]), packed(y.Addr()), packed(x.Addr()))
	if len(lines) != 2 || lines[0] != want {
		t.Errorf("calls %q, want first %q", lines, want)
	}
	if got := fetch(t, d, y); !slices.Equal(got, []float32{12.5, 25, 37.5, 50}) {
		t.Errorf("y = %v", got)
	}
}

// streamOf is the number after "stream" in a log line.
func streamOf(line string) string {
	_, rest, _ := strings.Cut(line, "stream ")
	n, _, _ := strings.Cut(rest, " ")
	return n
}

func binaryUint64(v uint64) []byte {
	return slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&v)), 8))
}

func TestWideParameter(t *testing.T) {
	d := open(t)
	out := must(d.Alloc(128))(t)
	var m driver.EncodedTensorMap
	copy(m[:], pattern(128, 9))
	var args driver.Args
	if err := d.Launch(kernel(t, d, "wide"), driver.Config{}, args.Addr(out.Addr()).TensorMap(&m)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 128)
	if err := d.CopyOut(got, out); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, m[:]) {
		t.Errorf("the kernel got % x", got)
	}
}

func TestLaunchRefusesWhatTheKernelDoesNotTake(t *testing.T) {
	d := open(t)
	f := kernel(t, d, "axpy")
	var args driver.Args
	lines := calls(t, func() {
		wantError(t, d.Launch(f, driver.Config{Grid: driver.Dim{X: 2}, Block: driver.Dim{X: 64}}, args.Reset().U64(1).U64(2)),
			"cuda: launch axpy, grid 2x1x1, block 64x1x1, 0 bytes shared: 2 arguments, the kernel takes 4")
		wantError(t, d.Launch(f, driver.Config{}, args.Reset().U64(1).U32(2).F32(3).U32(4)),
			"argument 1 is 4 bytes at offset 8, the kernel takes 8 at 8")
		wantError(t, d.Launch(f, driver.Config{Block: driver.Dim{X: 256, Y: 2}}, args.Reset().U64(1).U64(2).F32(3).U32(4)),
			"512 threads per block, the kernel takes 256")
	})
	if len(lines) != 0 {
		t.Errorf("the driver was called: %q", lines)
	}
	err := d.Launch(f, driver.Config{Grid: driver.Dim{X: 1, Y: 70000}}, args.Reset().U64(1).U64(2).F32(3).U32(4))
	wantError(t, err, "grid 1x70000x1", "cuLaunchKernel: CUDA_ERROR_INVALID_VALUE (1): fake driver")
}

func TestDynamicSharedMemoryAbove48KiB(t *testing.T) {
	d := open(t)
	f := kernel(t, d, "tiles")
	var args driver.Args
	args.U64(0)
	shared := func(n int) (err error) { return d.Launch(f, driver.Config{Shared: n}, &args) }
	lines := calls(t, func() {
		for _, n := range []int{48 << 10, 200 << 10, 100 << 10, 231424} {
			if err := shared(n); err != nil {
				t.Fatal(err)
			}
		}
	})
	// The attribute is set only when a launch needs more than any before.
	if got, want := only(lines, "attribute"), []string{"attribute 8 of tiles = 204800", "attribute 8 of tiles = 231424"}; !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
	wantError(t, shared(231425), "232449 bytes of shared memory (231425 dynamic, 1024 static), Fake H200 #0 has 232448 per block")
}

// The context is made current on every thread on which a call runs.
func TestEveryThread(t *testing.T) {
	d := open(t)
	f := kernel(t, d, "axpy")
	x, y := floats(t, d, 1), floats(t, d, 0)
	var turn sync.Mutex // one goroutine at a time, as the contract says
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			turn.Lock()
			defer turn.Unlock()
			var args driver.Args
			if err := d.Launch(f, driver.Config{}, axpyArgs(&args, y, x, 1)); err != nil {
				t.Error(err)
			}
			m, err := d.Alloc(10)
			if err != nil {
				t.Error(err)
				return
			}
			d.Free(m)
		})
	}
	all.Wait()
	if got := fetch(t, d, y); got[0] != 8 {
		t.Errorf("y = %v after 8 launches", got)
	}
}

// Two devices in one process use their own contexts.
func TestTwoDevices(t *testing.T) {
	a := open(t)
	b := must(Open(1))(t)
	ya, yb := floats(t, a, 1), floats(t, b, 2)
	var args driver.Args
	for range 2 {
		if err := errorsOf(a.Launch(kernel(t, a, "axpy"), driver.Config{}, axpyArgs(&args, ya, ya, 1)),
			b.Launch(kernel(t, b, "axpy"), driver.Config{}, axpyArgs(&args, yb, yb, 1))); err != nil {
			t.Fatal(err)
		}
	}
	if va, vb := fetch(t, a, ya), fetch(t, b, yb); va[0] != 4 || vb[0] != 8 {
		t.Errorf("%v and %v, want 4 and 8", va, vb)
	}
	f := kernel(t, a, "tick")
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Launch(f, driver.Config{}, &driver.Args{}); err != nil {
		t.Error(err)
	}
}

// A kernel's fault is returned by a later call, whose error names the kernel.
func TestFaultOfAKernel(t *testing.T) {
	needFake(t)
	d := must(Open(0))(t)
	m := must(d.Alloc(10))(t)
	if err := d.Launch(kernel(t, d, "fault"), driver.Config{}, &driver.Args{}); err != nil {
		t.Fatal(err)
	}
	err := d.CopyOut(make([]byte, 10), m)
	wantError(t, err, "cuEventSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access was encountered",
		"the context is lost and the program must be restarted", "the kernel launched last is fault")
	if !errors.Is(err, IllegalAddress) {
		t.Error("errors.Is(err, IllegalAddress) is false")
	}
	var e *Error
	if !errors.As(err, &e) || e.Call != "cuEventSynchronize" || e.Name != "CUDA_ERROR_ILLEGAL_ADDRESS" {
		t.Errorf("%+v", e)
	}
	wantError(t, d.Synchronize(), "cuCtxSynchronize")
	wantError(t, d.Close(), "cuCtxSynchronize", "cuMemFree")
}

func TestLoadModule(t *testing.T) {
	d := open(t)
	_, err := d.LoadModule("bad.ptx", []byte(".version 8.5\n.target sm_100a\n.entry k() { broken.instruction; }"))
	wantError(t, err, "cuda: load bad.ptx (PTX 8.5 for sm_100a; Fake H200 #0 is sm_90, driver CUDA 13.0): cuModuleLoadDataEx: CUDA_ERROR_INVALID_PTX (218): fake driver",
		"\nptxas application ptx input, line 7; fatal   : Parsing error near '.instruction': syntax error")
	if !errors.Is(err, InvalidPTX) {
		t.Error("errors.Is(err, InvalidPTX) is false")
	}
	_, err = d.LoadModule("empty.ptx", []byte(".version 8.0\n"))
	wantError(t, err, "cuda: load empty.ptx: the PTX text has no .entry")
	m := must(d.LoadModule("good.ptx", []byte(ptx)))(t)
	_, err = m.Function("gemm")
	wantError(t, err, "cuda: good.ptx has no kernel gemm; it has absent, axpy, fault, tick, tiles, wide")
	_, err = m.Function("absent")
	wantError(t, err, "cuda: kernel absent of good.ptx: cuModuleGetFunction:", "(500)")
	if err := m.Unload(); err != nil {
		t.Error(err)
	}
}

func TestForeignHandlesPanic(t *testing.T) {
	a := open(t)
	b := must(Open(1))(t)
	defer b.Close()
	f, s, e := kernel(t, b, "tick"), must(b.NewStream())(t), must(b.NewEvent())(t)
	for name, call := range map[string]func(){
		"kernel": func() { a.Launch(f, driver.Config{}, &driver.Args{}) },
		"stream": func() { a.CopyInAsync(driver.Memory{}, &HostBuffer{}, s) },
		"event":  func() { a.Queue().Record(e) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a %s of another device does not panic", name)
				}
			}()
			call()
		}()
	}
}

func BenchmarkLaunch(b *testing.B) {
	d := open(b)
	f := kernel(b, d, "tick")
	var args driver.Args
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if err := d.Launch(f, driver.Config{Grid: driver.Dim{X: 1}, Block: driver.Dim{X: 32}}, &args); err != nil {
			b.Fatal(err)
		}
		if n%4096 == 0 { // the fake driver keeps all queued work
			if err := d.Synchronize(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
