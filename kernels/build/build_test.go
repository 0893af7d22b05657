package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestShippedPTX lints the committed PTX; .ci/run also compiles it again.
func TestShippedPTX(t *testing.T) {
	t.Chdir("../..")
	if err := run(mode{lint: true}, nil); err != nil {
		t.Error(err)
	}
}

// TestLint plants what must not be shipped.
func TestLint(t *testing.T) {
	const text = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry f(\n.param .u64 f_param_0\n)\n{\n.reg .b32 %r<3>;\nBODY\nret;\n}\n"
	for _, c := range []struct{ body, want string }{
		{"mov.u32 %r1, %tid.x;", ""},
		{".local .align 4 .b8 depot[8];", "local memory"},
		{"call (%r1), erff, (%r2);", "everything must be inlined"},
		{".func (.param .b32 r) f(.param .b32 x) { ret; }", ".func"},
		{"frobnicate.u32 %r1, %r2;", "unknown opcode"},
		{"add.u32 %r1, %r2;", "operand 3"},
	} {
		faults := lint("x.ptx", strings.Replace(text, "BODY", c.body, 1), sm80)
		switch {
		case c.want == "" && len(faults) > 0:
			t.Errorf("%s: %v", c.body, faults)
		case c.want != "" && (len(faults) == 0 || !strings.Contains(errors.Join(faults...).Error(), c.want)):
			t.Errorf("%s: faults %v, want %q", c.body, faults, c.want)
		}
	}
	if faults := lint("x.ptx", strings.Replace(text, "BODY", "", 1), sm90a); len(faults) != 1 {
		t.Errorf("version and target of another architecture: %v", faults)
	}
}

// TestWriteTable: between the markers there is one row per kernel, in order, and the rest of
// the page is unchanged.
func TestWriteTable(t *testing.T) {
	dir := t.TempDir()
	page, report := filepath.Join(dir, "page.md"), filepath.Join(dir, "report.json")
	for name, text := range map[string]string{
		page: "before\n<!-- ptxas -->\nold\n<!-- /ptxas -->\nafter\n",
		report: `{"ptxas": "13.0.88", "results": [
			{"arch": "sm_90a", "file": "kernels/gemm/wgmma.sm90a.ptx", "kernels": {"gemm_wgmma": {"regs": 168, "smem": 1024, "dynamic_smem": 65536,
				"threads": 384, "blocks_per_sm": 1, "warps_percent": 19, "limit": "regs", "instructions": 400, "hgmma": 8, "tma": 4, "loop": {"instructions": 60, "tensor": 8}}}},
			{"arch": "sm_80", "file": "kernels/dev/probe.sm80.ptx", "kernels": {"probe": {"regs": 8}}},
			{"arch": "sm_80", "file": "kernels/adamw/adamw.sm80.ptx", "kernels": {"adamw_step": {"regs": 35, "spill_stores": 4, "spill_loads": 8,
				"threads": 256, "blocks_per_sm": 6, "warps_percent": 75, "limit": "regs", "instructions": 500, "loop": null}}}]}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeTable(page, report); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	want := "before\n<!-- ptxas -->\n" + tableHead("13.0.88") +
		"| adamw_step | sm_80 | 35 | 4/8 | 0 | 6 x 256, 75 %, regs | 500 | - | 0 | 0 |\n" +
		"| gemm_wgmma | sm_90a | 168 | 0/0 | 66560 | 1 x 384, 19 %, regs | 400 | 60/8 | 8 | 4 |\n<!-- /ptxas -->\nafter\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := writeTable(report, report); err == nil || !strings.Contains(err.Error(), "<!-- ptxas -->") {
		t.Errorf("a page without the markers: %v", err)
	}
}
