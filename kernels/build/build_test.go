package main

import (
	"errors"
	"strings"
	"testing"
)

// TestShippedPTX lints what is committed, and compiles it again where the pinned
// compiler is.
func TestShippedPTX(t *testing.T) {
	t.Chdir("../..")
	sources, err := findSources("kernels", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		err := s.build(true, false)
		if errors.Is(err, errNoCompiler) {
			t.Logf("%s: not compiled again: %v", s.cu, err)
			err = s.build(true, true)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// TestLint plants what must not be shipped.
func TestLint(t *testing.T) {
	const text = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry f(\n.param .u64 f_param_0\n)\n{\n.reg .b32 %r<3>;\nBODY\nret;\n}\n"
	for _, c := range []struct{ body, want string }{
		{"mov.u32 %r1, %tid.x;", ""},
		{".local .align 4 .b8 depot[8];", "local memory"},
		{"call (%r1), erff, (%r2);", "a call"},
		{"frobnicate.u32 %r1, %r2;", "unknown opcode"},
		{"add.u32 %r1, %r2;", "operand 3"},
	} {
		faults := lint(strings.Replace(text, "BODY", c.body, 1), sm80)
		switch {
		case c.want == "" && len(faults) > 0:
			t.Errorf("%s: %v", c.body, faults)
		case c.want != "" && (len(faults) == 0 || !strings.Contains(errors.Join(faults...).Error(), c.want)):
			t.Errorf("%s: faults %v, want %q", c.body, faults, c.want)
		}
	}
	if faults := lint(strings.Replace(text, "BODY", "", 1), sm90a); len(faults) < 2 {
		t.Errorf("version and target of another architecture: %v", faults)
	}
	if faults := lintWgmma(strings.Split("wgmma.mma_async.x {%r1, %r2}, %rd1, %rd2, p, 1, 1, 0, 0;\nadd.f32 %r1, %r1, %r3;\nwgmma.wait_group.sync.aligned 0;\nadd.f32 %r1, %r1, %r3;", "\n")); len(faults) != 1 {
		t.Errorf("accumulators in flight: %v", faults)
	}
}
