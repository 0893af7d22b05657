package main

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestInterpreter: every case runs, its entries are what float64 has, and its counts are
// those of the kernel. A floor that
// claimed more bytes than move would make shares too good: none does.
func TestInterpreter(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "k.json")
	var text strings.Builder
	if err := run(options{device: "sim", check: true, json: out}, &text); err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	r := readReport(t, out)
	if len(r.Records) != len(allCases(simModels)) || r.Kind != "sim" {
		t.Fatalf("%d records of a %s device", len(r.Records), r.Kind)
	}
	for _, k := range r.Records {
		if k.Counts == nil || k.Counts.Launches == 0 || k.Counts.Excess < 0.999 || k.Median != 0 || k.Check != good {
			t.Errorf("%s: %s %+v", k.Name, k.Check, k.Counts)
		}
		if strings.HasPrefix(k.Op, "gemm_") && k.Type == "bf16" && float64(k.Counts.Flops) < k.Ops {
			t.Errorf("%s: %d operations counted, the floor has %g", k.Name, k.Counts.Flops, k.Ops)
		}
	}
}

// TestHost: times, rates and shares follow from one another, in both files.
func TestHost(t *testing.T) {
	dir := t.TempDir()
	o := options{device: "cpu", run: "^norm_forward|^gemm_nn/bf16.*/512x576x1536$", quick: true, json: filepath.Join(dir, "k.json"), csv: filepath.Join(dir, "k.csv")}
	if err := run(o, new(strings.Builder)); err != nil {
		t.Fatal(err)
	}
	r := readReport(t, o.json)
	if len(r.Records) != 2 || r.Ceilings.Copy <= 0 || r.Ceilings.Multiply <= 0 {
		t.Fatalf("%+v", r)
	}
	gemm, norm := r.Records[0], r.Records[1]
	if gemm.Op != "gemm_nn" || gemm.Dims["k"] != 1536 || gemm.Ops != 2*512*576*1536 || gemm.Bound != "multiply" {
		t.Errorf("%+v", gemm)
	}
	if want := 8 * 512 * 576 / norm.Median / 1e9; math.Abs(norm.GBs/want-1) > 1e-9 || norm.Bound != "memory" || norm.Share <= 0 {
		t.Errorf("%+v, want %v GB/s", norm, want)
	}
	for _, k := range r.Records {
		if k.Repeats < 3 || k.Least <= 0 || k.Least > k.Median || k.Error != "" {
			t.Errorf("%+v", k)
		}
	}
	f, err := os.Open(o.csv)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != 3 || rows[2][3] != norm.Name {
		t.Errorf("%v, %v", rows, err)
	}
}

func readReport(t *testing.T, path string) (r Report) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestFloors compares floors with figures from elsewhere: FlashAttention counts
// 4·S²·D·H/2 operations for a causal pass, spec/performance.md 17.2 T for the head of
// 8192 rows with its gradient by h.
func TestFloors(t *testing.T) {
	want := map[string]float64{
		"gemm_nn/bf16/llama3-8b/8192x8192x8192":                        2 * 8192 * 8192 * 8192,
		"group_nt/bf16/llama3-8b/8192x4096x16x4096x1024x1024":          2 * 8192 * 6144 * (4096 + 16),
		"group_nn/bf16/llama3-8b/8192x4096x16x14336x14336":             2 * 8192 * 4096 * (2*14336 + 32),
		"group_tn/bf16/llama3-8b/8192x4096x16x14336x14336":             2 * 8192 * 16 * (2*4096 + 2*14336),
		"experts_nt/bf16/qwen3-30b-a3b/65536x768x2048x128":             2 * 65536 * 768 * 2048,
		"attention_forward/bf16/llama3-8b/16384x16384x16x16x128":       2 * 16384 * 16385 * 128 * 16,
		"attention_backward/bf16/llama3-8b/16384x2048x16x16x128":       5 * 2048 * 2049 * 128 * 16 * 8,
		"xent_dh/bf16/llama3-8b/8192x4096x128256":                      17.2e12,
		"gradproj_rademacher/f32/llama3-8b/128x64x4096x4096x16x8192":   2*128*131072*8192 + 2*8192*131072,
		"gradproj_rademacher/f32/smollm2-135m/128x128x576x576x16x4096": 2*128*18432*4096 + 2*16384*18432,
	}
	for _, c := range allCases(gpuModels) {
		if w, ok := want[c.Name()]; ok {
			if math.Abs(c.Floor.Ops/w-1) > 0.002 {
				t.Errorf("%s: %g operations, want %g", c.Name(), c.Floor.Ops, w)
			}
			delete(want, c.Name())
		}
	}
	if len(want) > 0 {
		t.Errorf("no such cases: %v", want)
	}
}

// TestCompiled: what the device says of a folder of PTX, and of a folder without.
func TestCompiled(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile("../../kernels/peak/peak.sm90a.ptx")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "peak.sm90a.ptx"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "k.json")
	if err := run(options{device: "sim", ptx: dir, json: out}, new(strings.Builder)); err != nil {
		t.Fatal(err)
	}
	k := readReport(t, out).Kernels
	if len(k) != 1 || k[0].Name != "peak_products" || k[0].Shared != 32768 || k[0].Threads != 128 || k[0].Local != 0 {
		t.Errorf("%+v", k)
	}
	if err := run(options{device: "sim", ptx: t.TempDir()}, new(strings.Builder)); err == nil || !strings.Contains(err.Error(), "no *.ptx") {
		t.Errorf("an empty folder: %v", err)
	}
}

// TestProbe: every kernel once, and no kernels on a host.
func TestProbe(t *testing.T) {
	var text strings.Builder
	if err := run(options{device: "sim", probe: true}, &text); err != nil || !strings.Contains(text.String(), "as on the host") {
		t.Errorf("%v, %s", err, text.String())
	}
	if err := run(options{device: "cpu", probe: true}, &text); err == nil {
		t.Error("a host launches kernels")
	}
}

// TestErrors: what fails in one case is its record's, and the error of the whole.
func TestErrors(t *testing.T) {
	b := newBench(must2(open("sim")), true, true)
	defer b.dev.Close()
	r := &Report{Records: b.measure(Case{Op: "fails", setup: func(*room) job { return job{call: func() { panic("on purpose") }} }})}
	if r.Records[0].Error != "on purpose" {
		t.Errorf("%+v", r.Records[0])
	}
	if err := r.failures(); err == nil || err.Error() != "1 of 1 cases failed" {
		t.Errorf("%v", err)
	}
	if _, err := selected("gpu", false, regexp.MustCompile("")); err == nil || !strings.Contains(err.Error(), "cuda, cpu and sim") {
		t.Errorf("%v", err)
	}
	if _, err := selected("cpu", false, regexp.MustCompile("nothing")); err == nil || !strings.Contains(err.Error(), "-list") {
		t.Errorf("%v", err)
	}
	if err := run(options{device: "cuda"}, new(strings.Builder)); err == nil || !strings.Contains(err.Error(), "cuda") {
		t.Errorf("without a GPU: %v", err)
	}
}

func must2[T any](v T, err error) T {
	must(err)
	return v
}
