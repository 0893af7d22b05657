package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// What is committed is what the generator writes.
func TestCommittedOutputIsUpToDate(t *testing.T) {
	f, err := os.Open("../api.def")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries, err := parse(f)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"../include/cuda_api.h": header(entries), "../forward.h": forwards(entries)} {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from the generator's output: go generate ./third_party/cuda", name)
		}
	}
}

func TestParse(t *testing.T) {
	entries, err := parse(strings.NewReader("# comment\n\nown cuInit(unsigned int flags)\ncuMemAlloc@_v2(CUdeviceptr *ptr, size_t bytes)\ncuCtxSynchronize()\n"))
	if err != nil {
		t.Fatal(err)
	}
	h, f := string(header(entries)), string(forwards(entries))
	for _, want := range []string{
		"#define cuMemAlloc dataflex_cuMemAlloc_v2\n",
		"CUresult cuMemAlloc(CUdeviceptr *ptr, size_t bytes);\n",
		"CUresult cuCtxSynchronize(void);\n",
	} {
		if !strings.Contains(h, want) {
			t.Errorf("cuda_api.h lacks %q:\n%s", want, h)
		}
	}
	for _, want := range []string{
		"LOOKUP(cuInit)\n",
		"FORWARD(cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr *ptr, size_t bytes), (ptr, bytes))\n",
		"FORWARD(cuCtxSynchronize, cuCtxSynchronize, (void), ())\n",
	} {
		if !strings.Contains(f, want) {
			t.Errorf("forward.h lacks %q:\n%s", want, f)
		}
	}
}

func TestParseErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"cuA(int x)\nnonsense\n":         "api.def:2: not name",
		"cuA(int)\n":                     `api.def:1: parameter "int" of cuA has no name`,
		"cuA(int x)\n\ncuA@_v2(int x)\n": "api.def:3: cuA again, first in line 1",
	} {
		if _, err := parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parse(%q): %v, want %q", text, err, want)
		}
	}
}
