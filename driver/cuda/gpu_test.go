//go:build cuda && cgo && linux

package cuda

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/driver"
)

// Tests that need a driver with a GPU: they run if gpuEnv requests them, in any order, on
// GPU number 0.

// gpuPTX is PTX text that any GPU since Ampere compiles.
const gpuPTX = `
.version 7.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 pool[];

.visible .entry axpy(.param .u64 axpy_param_0, .param .u64 axpy_param_1, .param .f32 axpy_param_2, .param .u32 axpy_param_3)
.maxntid 256, 1, 1
{
	.reg .pred %p<2>;
	.reg .f32 %f<5>;
	.reg .b32 %r<6>;
	.reg .b64 %rd<6>;
	ld.param.u64 %rd1, [axpy_param_0];
	ld.param.u64 %rd2, [axpy_param_1];
	ld.param.f32 %f1, [axpy_param_2];
	ld.param.u32 %r1, [axpy_param_3];
	mov.u32 %r2, %ctaid.x;
	mov.u32 %r3, %ntid.x;
	mov.u32 %r4, %tid.x;
	mad.lo.s32 %r5, %r2, %r3, %r4;
	setp.ge.s32 %p1, %r5, %r1;
	@%p1 bra DONE;
	mul.wide.s32 %rd3, %r5, 4;
	add.s64 %rd4, %rd1, %rd3;
	add.s64 %rd5, %rd2, %rd3;
	ld.global.f32 %f2, [%rd4];
	ld.global.f32 %f3, [%rd5];
	fma.rn.f32 %f4, %f1, %f3, %f2;
	st.global.f32 [%rd4], %f4;
DONE:
	ret;
}

.visible .entry last_word(.param .u64 last_word_param_0, .param .u32 last_word_param_1)
.maxntid 32, 1, 1
{
	.reg .b32 %r<5>;
	.reg .b64 %rd<2>;
	ld.param.u64 %rd1, [last_word_param_0];
	ld.param.u32 %r1, [last_word_param_1];
	mov.u32 %r2, pool;
	add.s32 %r3, %r2, %r1;
	st.shared.u32 [%r3], %r1;
	ld.shared.u32 %r4, [%r3];
	st.global.u32 [%rd1], %r4;
	ret;
}

.visible .entry nothing()
.maxntid 32, 1, 1
{
	ret;
}
`

func needGPU(t *testing.T) *Device {
	t.Helper()
	if os.Getenv(gpuEnv) != "cuda" {
		t.Skipf("%s is not cuda", gpuEnv)
	}
	d, err := Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func gpuKernel(t *testing.T, d *Device, name string) driver.Function {
	t.Helper()
	f := must(must(d.LoadModule("gpu_test", []byte(gpuPTX)))(t).Function(name))(t)
	if f.Attributes().LocalBytes != 0 {
		t.Errorf("%s: %+v", name, f.Attributes())
	}
	return f
}

// tensor is n floats on d.
func tensor(t *testing.T, d *Device, x ...float32) driver.F32 {
	t.Helper()
	s := driver.View[float32](must(d.Alloc(4 * len(x)))(t))
	if err := driver.Upload(d, s, x); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGPUProperties(t *testing.T) {
	d := needGPU(t)
	p := d.Properties()
	t.Logf("%+v", p)
	if p.SM() < 80 || p.Multiprocessors < 1 || p.L2Bytes < 1<<20 || p.SharedPerBlock < 99<<10 || p.MemoryBytes < 1<<30 {
		t.Error("a GPU of which not all is known")
	}
}

// Copies of all lengths, to and from all offsets, through the staging buffers and larger
// than them; new memory is zero.
func TestGPUCopies(t *testing.T) {
	d := needGPU(t)
	for _, n := range []int{1, 255, 4097, stagingSize - 1, 3*stagingSize + 5} {
		mem := must(d.Alloc(n))(t)
		back := make([]byte, n)
		if err := d.CopyOut(back, mem); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(back, func(b byte) bool { return b != 0 }) {
			t.Errorf("%d bytes: new memory is not zero", n)
		}
		x := make([]byte, n)
		for i := range x {
			x[i] = byte(i*7 + i>>8)
		}
		if err := errorsOf(d.CopyIn(mem, x), d.CopyOut(back, mem)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(back, x) {
			t.Errorf("%d bytes: what comes back is not what went in", n)
		}
		d.Free(mem)
	}
}

// A launch, in the device's queue, in a stream ordered by an event, and in a graph.
func TestGPULaunches(t *testing.T) {
	d := needGPU(t)
	f := gpuKernel(t, d, "axpy")
	y, x := tensor(t, d, 1, 2, 3), tensor(t, d, 10, 20, 30)
	var args driver.Args
	launch := func(s driver.Stream) error {
		return d.Launch(f, driver.Config{Grid: driver.Dim{X: 1}, Block: driver.Dim{X: 256}, Stream: s},
			args.Reset().Addr(y.Addr()).Addr(x.Addr()).F32(2).U32(3))
	}
	want := []float32{1, 2, 3}
	check := func(what string) {
		t.Helper()
		for i, v := range []float32{10, 20, 30} {
			want[i] += 2 * v
		}
		if got := must(driver.Read(d, y))(t); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	if err := launch(nil); err != nil {
		t.Fatal(err)
	}
	check("queue")
	s, e := must(d.NewStream())(t), must(d.NewEvent())(t)
	if err := errorsOf(d.Queue().Record(e), s.Wait(e), launch(s), s.Record(e), d.Queue().Wait(e)); err != nil {
		t.Fatal(err)
	}
	check("stream")
	g := must(d.Capture(func() error { return launch(nil) }))(t)
	for range 2 {
		if err := g.Launch(); err != nil {
			t.Fatal(err)
		}
		check("graph")
	}
	if err := errorsOf(g.Close(), s.Close(), e.Close()); err != nil {
		t.Error(err)
	}
}

// Blocks use as much shared memory as sm_80 allows, and as this GPU has.
func TestGPUSharedMemory(t *testing.T) {
	d := needGPU(t)
	f := gpuKernel(t, d, "last_word")
	out := driver.View[uint32](must(d.Alloc(4))(t))
	for _, n := range []int{4 << 10, 48 << 10, min(163<<10, d.Properties().SharedPerBlock)} {
		var args driver.Args
		at := uint32(n - 4)
		if err := d.Launch(f, driver.Config{Block: driver.Dim{X: 1}, Shared: n}, args.Addr(out.Addr()).U32(at)); err != nil {
			t.Fatal(err)
		}
		if got := must(driver.Read(d, out))(t); got[0] != at {
			t.Errorf("%d bytes: the last word is %d, want %d", n, got[0], at)
		}
	}
}

// The error contains the compiler's complaint with its line.
func TestGPUCompilerSays(t *testing.T) {
	d := needGPU(t)
	_, err := d.LoadModule("broken", []byte(strings.Replace(gpuPTX, "fma.rn.f32", "frobnicate", 1)))
	wantError(t, err, "cuda: load broken (PTX 7.0 for sm_80;", "line")
	t.Log(err)
}

func TestGPUTensorMap(t *testing.T) {
	d := needGPU(t)
	if d.Properties().Major < 9 {
		t.Skip("tensor maps came with compute capability 9.0")
	}
	mem := must(d.Alloc(1 << 20))(t)
	m, err := d.EncodeTensorMap(driver.TensorMap{
		Type: driver.TensorBF16, Addr: mem.Addr(), Dims: []uint64{512, 1024}, Strides: []uint64{1024}, Box: []uint32{64, 128}, Swizzle: 128,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%x", m) // the bytes, for comparison with the interpreter's
}

// Logs the host's time for a launch, and the time between events.
func TestGPULaunchCost(t *testing.T) {
	d := needGPU(t)
	f := gpuKernel(t, d, "nothing")
	const n = 2000
	var args driver.Args
	c := driver.Config{Grid: driver.Dim{X: 1}, Block: driver.Dim{X: 32}}
	from, to := must(d.NewEvent())(t), must(d.NewEvent())(t)
	if err := errorsOf(d.Launch(f, c, &args), d.Synchronize(), d.Queue().Record(from)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range n {
		if err := d.Launch(f, c, &args); err != nil {
			t.Fatal(err)
		}
	}
	host := time.Since(start)
	if err := errorsOf(d.Queue().Record(to), to.Synchronize()); err != nil {
		t.Fatal(err)
	}
	device := must(to.Since(from))(t)
	t.Logf("%v a launch on the host, %v on the device", host/n, device/n)
	if device <= 0 || host > n*time.Millisecond {
		t.Errorf("host %v, device %v", host, device)
	}
}

// A kernel that writes to an invalid address loses the context, and the error names it.
func TestGPUFault(t *testing.T) {
	needGPU(t)
	out := runChild(t, "fault")
	for _, want := range []string{"launched: <nil>", "(700)", "the kernel launched last is axpy"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// faultingChild is the process started by TestGPUFault.
func faultingChild(say func(...any)) {
	d, err := Open(0)
	if err != nil {
		say(err)
		return
	}
	m, err := d.LoadModule("gpu_test", []byte(gpuPTX))
	if err != nil {
		say(err)
		return
	}
	f, err := m.Function("axpy")
	if err != nil {
		say(err)
		return
	}
	var args driver.Args
	say("launched:", d.Launch(f, driver.Config{Block: driver.Dim{X: 32}}, args.Addr(1<<46).Addr(1<<46).F32(1).U32(32)))
	say(d.Synchronize())
}
