package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// TestBinary: the tests after one that ends the process are run in another; after one that
// hangs the rest of its binary is left alone, and dev comes first.
func TestBinary(t *testing.T) {
	dir := t.TempDir()
	for family, script := range map[string]string{
		"norm": `case "$*" in
*-test.list*) echo TestA; echo TestB; echo TestC; echo BenchmarkD;;
*TestA*) echo "=== RUN   TestA"; echo "--- PASS: TestA (0.01s)"; echo "=== RUN   TestB"; echo dead; exit 2;;
*TestC*) echo "=== RUN   TestC"; echo "--- PASS: TestC (0.02s)"; echo PASS;;
esac
`,
		"dev": `case "$*" in
*-test.list*) echo TestE; echo TestF; echo TestG;;
*) echo "=== RUN   TestE"; echo "--- PASS: TestE (0.01s)"; echo "=== RUN   TestF"; exec sleep 60;;
esac
`,
	} {
		name := filepath.Join(dir, "tests", family, family+".test")
		script = "#!/bin/sh\n[ \"$DATAFLEX_TEST_DEVICE\" = cuda ] || exit 9\n" + script
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(script), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	r := &runner{dir: dir, raw: dir, options: options{limit: time.Second}, deadline: time.Now().Add(time.Hour)}
	if err := r.tests(); err == nil || err.Error() != "2 tests failed" {
		t.Errorf("%v", err)
	}
	var got []string
	for _, x := range r.res.Tests {
		got = append(got, x.Name+" "+x.Result)
	}
	if want := "[TestE PASS TestF HANG TestG NOT RUN TestA PASS TestB CRASH TestC PASS]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	r.deadline, r.res = time.Now(), Results{}
	if err := r.tests(); err != nil || len(r.res.Tests) != 2 || r.res.Tests[0] != (Test{Package: "dev", Name: "all of them", Result: "NOT RUN"}) {
		t.Errorf("out of time: %v, %+v", err, r.res)
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

// TestMarkdown: what failed, every table, torch's ratio, and no more than a hundred lines.
func TestMarkdown(t *testing.T) {
	r := Results{Part: "kernels", Failures: []string{"test: 1 tests failed"}, Notes: []string{"training: no time was left for less_f32"}}
	d := &r.Device
	d.Name, d.Date, d.Capability, d.Driver, d.Torch = "NVIDIA H200", "2026-11-24", 90, 13000, "2.7.1"
	d.Ceilings.Copy, d.Ceilings.Tensor = 4000, 800
	d.Records = []Record{
		{Name: "gemm_nt/bf16/x/1x2x3", Ops: 1e12, Median: 2e-3, TFLOPs: 500, GBs: 3, Share: 0.625, Bound: "tensor", First: 0.1, Check: "ok", Torch: 1.5e-3, How: "matmul"},
		{Name: "gemm_nt/bf16/x/1x2x3@sm_80", Variant: "sm_80", Median: 5e-3, Check: "ok"},
		{Name: "gemm_nt/bf16/x/1x2x3@no clusters", Variant: "no clusters", Median: 3e-3, Check: "ok"},
		{Name: "norm_forward/f32/x/1x2", Error: "ptx: norm: out of memory\nmore"},
		{Name: "rope/f32/x/1", Median: 1, Check: "BAD: x[1,2] is 3"},
		{Name: "copy/f32/x/1", Error: "not measured: the budget was spent"},
	}
	r.Tests = []Test{{"norm", "TestA", "PASS", 1, ""}, {"norm", "TestB", "FAIL", 2, "1 is\nnot 2"}, {"rope", "TestC", "HANG", 0, ""}, {"rope", "TestD", "NOT RUN", 0, ""}}
	d.Kernels = []Kernel{{Name: "norm_forward", File: "norm.sm80.ptx", Registers: 30, Local: 8}}
	step := Step{Model: "llama3-8b", Tokens: 512, Rate: 9000, Check: "ok", Peak: 20 << 30, Planned: 21 << 30, Launches: 4000, InKernels: 0.9, TorchRate: 6000}
	step.Kernels = append(step.Kernels, struct {
		Kernel   string  `json:"kernel"`
		Launches int     `json:"launches"`
		Seconds  float64 `json:"seconds"`
		Share    float64 `json:"share"`
	}{"gemm_bf16_nt_256", 224, 0.03, 0.6})
	d.Steps = []Step{step, {Model: "qwen2.5-7b", Tokens: 8192, Error: "out of memory"}}
	pageOf := r.markdown()
	for _, want := range []string{
		"# kernels on NVIDIA H200, 2026-11-24", "compute capability 9.0", "CUDA 13.0", "- FAILED test: 1 tests failed", "no time was left for less_f32.",
		"| gemm_nt/bf16/x/1x2x3 | ok | 2 | 5 | 3 | 500.0 | 3 | 62 % tensor | 0.75 (matmul) |",
		"- norm_forward/f32/x/1x2: ptx: norm: out of memory more", "- rope/f32/x/1: BAD: x[1,2] is 3",
		"| norm | 1 | 1 | 0 | 0 | 0 | 0 | 3.0 |", "| rope | 0 | 0 | 0 | 1 | 0 | 1 | 0.0 |", "- FAIL norm.TestB: 1 is not 2", "- HANG rope.TestC",
		"- norm_forward of norm.sm80.ptx spills 8 bytes", "torch 2.7.1.",
		"| llama3-8b | 512 | ok | 9000 | 6000 | 0.0 | 0 | 20.0 (21.0) | 4000 | 90 % |", "| qwen2.5-7b | 8192 | out of memory |", "gemm_bf16_nt_256 60.0 % (224)",
	} {
		if !strings.Contains(pageOf, want) {
			t.Errorf("no %q in\n%s", want, pageOf)
		}
	}
	for range 300 {
		d.Records = append(d.Records, d.Records[0])
	}
	lines := strings.Split(strings.TrimRight(r.markdown(), "\n"), "\n")
	if len(lines) > pageLines || !strings.HasSuffix(lines[len(lines)-1], "lines more are in all.tgz.") {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

// TestArchive: every file, the first megabyte of it, and not more than is taken back.
func TestArchive(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "all.tgz")
	noise := make([]byte, 2*logLimit)
	r := rand.NewChaCha8([32]byte{1})
	for i := range 24 {
		r.Read(noise)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.log", i)), noise, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive(dir, out); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() > archiveLimit || info.Size() < archiveLimit-4*logLimit {
		t.Errorf("%v bytes, %v", info.Size(), err)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	h, err := tar.NewReader(z).Next()
	if err != nil || h.Name != "00.log" || h.Size != logLimit {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestAll: a piece that fails does not stop the others, each has its share of the time, and
// without a GPU there is nothing to do.
func TestAll(t *testing.T) {
	dir := t.TempDir()
	r := &runner{options: options{out: filepath.Join(dir, "out"), budget: time.Hour}, dir: filepath.Join(dir, "unpacked"), part: "tests"}
	var ran []string
	add := func(name string, share float64, err error) piece {
		return piece{name, share, func(r *runner) error {
			ran = append(ran, fmt.Sprintf("%s %.1f", name, r.left().Hours()))
			return errors.Join(err, os.WriteFile(filepath.Join(r.raw, name+".log"), nil, 0o644))
		}}
	}
	err := r.all([]piece{add("a", 0.2, errors.New("on purpose")), add("b", 1, nil)})
	if fmt.Sprint(ran) != "[a 0.2 b 1.0]" || err == nil || !strings.Contains(err.Error(), "a: on purpose") {
		t.Errorf("%v, %v", ran, err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "out", "tests", "RESULTS.md"))
	if err != nil || !strings.Contains(string(page), "- FAILED a: on purpose") {
		t.Errorf("%s, %v", page, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "out", "tests", "all.tgz")); err != nil {
		t.Error(err)
	}
	if err := r.all([]piece{add("a", 1, errNoGPU), add("c", 1, nil)}); !errors.Is(err, errNoGPU) || len(ran) != 3 {
		t.Errorf("%v, %v", ran, err)
	}
	if err := run(options{}, []string{"bench"}); err == nil || !strings.Contains(err.Error(), "tests, kernels and steps") {
		t.Errorf("%v", err)
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
