package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestParse: of a process that ended early, the test it ended in, and its last words.
func TestParse(t *testing.T) {
	const text = `=== RUN   TestFine
=== RUN   TestFine/sub
--- PASS: TestFine (0.25s)
    --- PASS: TestFine/sub (0.20s)
=== RUN   TestNone
    device.go:77: only the interpreter counts
--- SKIP: TestNone (0.00s)
=== RUN   TestWrong
    x_test.go:3: 1 is not 2
--- FAIL: TestWrong (1.50s)
=== RUN   TestDies
CUDA error: an illegal memory access
`
	got := parse("norm", text, errors.New("exit status 2"))
	want := []Test{
		{"norm", "TestFine", "PASS", 0.25, ""},
		{"norm", "TestNone", "SKIP", 0, ""},
		{"norm", "TestWrong", "FAIL", 1.5, "x_test.go:3: 1 is not 2"},
		{"norm", "TestDies", "CRASH", 0, "CUDA error: an illegal memory access"},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, w := range want {
		g := got[i]
		if !strings.Contains(g.Output, w.Output) || w.Output == "" && g.Output != "" {
			t.Errorf("%s: output %q", g.Name, g.Output)
		}
		if g.Output = w.Output; g != w {
			t.Errorf("%+v, want %+v", g, w)
		}
	}
	if got := parse("norm", text, nil); len(got) != 3 {
		t.Errorf("a process that ended well has %d results", len(got))
	}
}

// TestBinary: the tests after one that ends the process are run in another.
func TestBinary(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "tests", "norm", "norm.test")
	script := `#!/bin/sh
[ "$DATAFLEX_TEST_DEVICE" = cuda ] || exit 9
case "$*" in
*-test.list*) echo TestA; echo TestB; echo TestC; echo BenchmarkD;;
*TestA*) echo "=== RUN   TestA"; echo "--- PASS: TestA (0.01s)"; echo "=== RUN   TestB"; echo dead; exit 2;;
*TestC*) echo "=== RUN   TestC"; echo "--- PASS: TestC (0.02s)"; echo PASS;;
esac
`
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(script), 0o755)); err != nil {
		t.Fatal(err)
	}
	r := &runner{dir: dir, options: options{out: dir}}
	if err := r.tests(); err == nil || err.Error() != "1 tests failed" {
		t.Errorf("%v", err)
	}
	var got []string
	for _, x := range r.res.Tests {
		got = append(got, x.Name+" "+x.Result)
	}
	if want := "[TestA PASS TestB CRASH TestC PASS]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestCompare: a loss that is off, one that is no number, another count of them, and
// selections in another order, after which the losses are of other batches.
func TestCompare(t *testing.T) {
	run := Run{Allowed: 0.01, CPU: []float64{2, 1, 5}, GPU: []float64{2, 1.005, 9}}
	cpu, gpu := []selection{{2, 7}, {2, 8}, {4, 1}, {4, 2}}, []selection{{2, 8}, {2, 7}, {4, 1}, {4, 3}}
	if err := run.compare(cpu, gpu); err != nil || !run.Succeeded || run.Compared != 2 || run.Common != 0.75 || run.Worst < 0.0049 || run.Worst > 0.0051 {
		t.Errorf("%v, %+v", err, run)
	}
	for _, gpu := range [][]float64{{2, 1.02}, {2, nan()}} {
		run := Run{Allowed: 0.01, CPU: []float64{2, 1}, GPU: gpu}
		if err := run.compare(nil, nil); err != nil || run.Succeeded || run.Compared != 2 || run.Common != 1 {
			t.Errorf("%v: %v, %+v", gpu, err, run)
		}
	}
	if err := (&Run{CPU: []float64{2}}).compare(nil, nil); err == nil {
		t.Error("no steps on the GPU pass")
	}
}

func nan() float64 {
	var zero float64
	return zero / zero
}

// TestAssembled reads what ptxas 13.0 -v wrote.
func TestAssembled(t *testing.T) {
	got := assembled(`ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'norm_forward_warp' for 'sm_80'
ptxas info    : Function properties for norm_forward_warp
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 30 registers, used 1 barriers, 400 bytes cmem[0]
ptxas info    : Compile time = 3.1 ms
`)
	if want := (Assembled{Name: "norm_forward_warp", Registers: 30, Spills: 28, Stack: 8}); len(got) != 1 || got[0] != want {
		t.Errorf("%+v", got)
	}
}

// TestMarkdown: every table, and torch's ratio by the case's name.
func TestMarkdown(t *testing.T) {
	var r Results
	r.Device.Name, r.Device.Date, r.Device.Capability, r.Device.Driver = "NVIDIA H200", "2026-11-24", 90, 13000
	r.Device.Ceilings.Copy, r.Device.Ceilings.Tensor = 4000, 800
	r.Device.Records = []Record{
		{Name: "gemm_nt/bf16/x/1x2x3", Ops: 1e12, Median: 2e-3, TFLOPs: 500, GBs: 3, Share: 0.625, Bound: "tensor", First: 0.1, Check: "ok", Torch: 1.5e-3, How: "matmul"},
		{Name: "norm_forward/f32/x/1x2", Error: "ptx: norm: out of memory\nmore"},
	}
	r.Device.Torch = "2.7.1"
	r.Tests = []Test{{"norm", "TestA", "PASS", 1, ""}, {"norm", "TestB", "FAIL", 2, "1 is not 2"}, {"rope", "TestC", "SKIP", 0, ""}}
	r.Kernels = []Kernel{{Name: "norm_forward", File: "norm.sm80.ptx", Registers: 30}}
	r.Assembled = []Assembled{{Name: "norm_forward", File: "norm.sm80.ptx", Registers: 31}}
	r.Failures = []string{"tests: 1 tests failed"}
	page := r.markdown()
	for _, want := range []string{
		"# NVIDIA H200, 2026-11-24", "compute capability 9.0", "CUDA 13.0", "- tests: 1 tests failed",
		"| gemm_nt/bf16/x/1x2x3 | ok | 2 | 500.0 | 3 | 62 % tensor | 1.5 | 0.75 (matmul) | 100 |",
		"| norm_forward/f32/x/1x2 | ptx: norm: out of memory |", "| norm | 1 | 1 | 0 | 0 | 3.0 |", "FAIL norm.TestB",
		"| norm_forward | norm.sm80.ptx | 30 | 0 | 0 | 0 | 31, 0 |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

// TestUnpack: modes are kept, and nothing leads out of the folder.
func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	pack := func(name string) string {
		path := filepath.Join(dir, "b.tar.zst")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewWriter(f)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(z)
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: 5}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Close(), z.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		return path
	}
	to := filepath.Join(dir, "unpacked")
	if err := unpack(pack("tests/norm/norm.test"), to); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(to, "tests/norm/norm.test"))
	if err != nil || info.Mode().Perm() != 0o755 || info.Size() != 5 {
		t.Errorf("%v, %v", info, err)
	}
	if err := unpack(pack("../outside"), to); err == nil || !strings.Contains(err.Error(), "leads out of it") {
		t.Errorf("%v", err)
	}
}
