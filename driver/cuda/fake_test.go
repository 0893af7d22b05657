//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The tests run against testdata/fakecuda, a driver library without a GPU, which TestMain
// builds with the C compiler; without one they are skipped. A process opens only one
// library, so Open's errors for other drivers are tested in processes of their own: this
// test binary with childEnv set.
const childEnv = "DATAFLEX_CUDA_TEST_CHILD"

// gpuEnv is optest.DeviceEnv: if it is cuda, the tests of gpu_test.go run on the machine's
// driver and GPU, and those of the fake are skipped.
const gpuEnv = "DATAFLEX_TEST_DEVICE"

var (
	fake       string // path of the library, "" without a compiler
	fakeOld    string // the same without cuTensorMapEncodeTiled
	fakeReason string // why there is none
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		child(mode)
		os.Exit(0)
	}
	if os.Getenv(gpuEnv) == "cuda" {
		fakeReason = "the tests run on a GPU"
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "fakecuda")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if fake, err = buildFake(dir, "libcuda.so.1"); err == nil {
		fakeOld, err = buildFake(dir, "old-libcuda.so.1", "-DNO_TENSORMAP")
	}
	switch {
	case errors.Is(err, exec.ErrNotFound):
		fakeReason = err.Error()
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("DATAFLEX_LIBCUDA", fake)
	result := m.Run()
	os.RemoveAll(dir)
	os.Exit(result)
}

func buildFake(dir, name string, flags ...string) (string, error) {
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "gcc"
	}
	if _, err := exec.LookPath(compiler); err != nil {
		return "", err
	}
	out := filepath.Join(dir, name)
	args := append([]string{"-std=gnu11", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-o", out}, flags...)
	if text, err := exec.Command(compiler, append(args, "testdata/fakecuda/fakecuda.c")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the fake driver: %w\n%s", err, text)
	}
	return out, nil
}

func needFake(tb testing.TB) {
	if fake == "" {
		tb.Skip("no fake driver: ", fakeReason)
	}
}

// open opens a fake GPU, which must close without an error.
func open(tb testing.TB) *Device {
	tb.Helper()
	needFake(tb)
	d, err := Open(0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.Close(); err != nil {
			tb.Error(err)
		}
	})
	return d
}

// calls runs f and returns the lines that the fake driver logged during f.
func calls(tb testing.TB, f func()) []string {
	tb.Helper()
	log := filepath.Join(tb.TempDir(), "log")
	os.Setenv("FAKECUDA_LOG", log)
	f()
	os.Unsetenv("FAKECUDA_LOG")
	text, err := os.ReadFile(log)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// only keeps the lines that start with one of the words.
func only(lines []string, words ...string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(l, w) })
	})
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func wantError(tb testing.TB, err error, parts ...string) {
	tb.Helper()
	if err == nil {
		tb.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			tb.Errorf("error %q lacks %q", err, p)
		}
	}
}

// ptx is PTX text with the kernels that the fake driver implements.
const ptx = `
.version 8.0
.target sm_90a
.address_size 64
// .entry comment(.param .u32 x)
.visible .entry axpy(
	.param .u64 .ptr .global .align 4 axpy_param_0,
	.param .u64 axpy_param_1,
	.param .f32 axpy_param_2,
	.param .u32 axpy_param_3
)
.maxntid 256, 1, 1
{ ret; }
.visible .entry wide(.param .u64 wide_param_0, .param .align 64 .b8 wide_param_1[128]) { ret; }
.visible .entry fault() { ret; }
.visible .entry tiles(.param .u64 tiles_param_0) { ret; }
.visible .entry tick { ret; }
.visible .entry absent() { ret; }
`
