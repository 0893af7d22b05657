package sim

import (
	"errors"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
)

func TestWhatIsNotKnownIsRefusedWithItsLine(t *testing.T) {
	for _, c := range []struct{ code, msg string }{
		{"frobnicate.u32 %r0, %r1;", `unknown opcode "frobnicate"`},
		{"add.rz.f32 %f0, %f1, %f2;", ".rz is not supported"},
		{"add.ftz.rn.f32 %f0, %f1, %f2;", "type .rn is not supported"},
		{"add.u32 %r0, %r1, %rd1;", "register %rd1 is .b64, the instruction requires .u32"},
		{"add.f32 %f0, %f1, %h1;", "register %h1 is .b16"},
		{"add.u32 %r0, %r1;", "operand 3 is missing"},
		{"add.u32 %r0, %r1, %r2, %r3;", "4 operands, 3 expected"},
		{"add.u32 %r0, %r1, 0f3F800000;", "floating-point number in an integer"},
		{"ld.global.v3.u32 {%r0, %r1, %r2}, [%rd0];", ".v3"},
		{"ld.global.v4.b64 {%rd1, %rd2, %rd3, %rd4}, [%rd0];", "32 bytes"},
		{"ld.global.u32 %r0, [%r1];", "is not an address"},
		{"ld.weird.u32 %r0, [%rd0];", ".weird"},
		{"setp.lo.f33 %p1, %f1, %f2;", ".f33"},
		{"setp.lt.b32 %p1, %r1, %r2;", "bits have no order"},
		{"mov.u32 %r0, %envreg3;", "special register %envreg3"},
		{"cvt.f32.s32 %f0, %r1;", "needs a rounding"},
		{"cvt.u32.f32 %r0, %f1;", "integer rounding"},
		{"mma.sync.aligned.m16n8k8.row.col.f32.f16.bf16.f32 {%f0, %f1, %f2, %f3}, {%r1, %r2}, {%r3}, {%f0, %f1, %f2, %f3};", "do not match"},
		{"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0, %f1, %f2}, {%r1, %r2, %r3, %r4}, {%r3, %r4}, {%f0, %f1, %f2, %f3};", "3 registers, 4 expected"},
		{"cp.async.cg.shared.global [%r1], [%rd0], 8;", "8 bytes"},
		{"bar.sync 0, 64, 3;", "operands"},
		{"call foo, (%r1);", "must be inlined"},
		{"bra NOWHERE;", "no label NOWHERE"},
		{"@%r1 mov.u32 %r0, 0;", "not a predicate"},
		{"setmaxnreg.inc.sync.aligned.u32 100;", "not a multiple of 8"},
		{"ld.param.u64 %rd1, [p0+4];", "bytes [4..12)"},
		{"fence.proxy.alias;", ""},
		{"cp.async.bulk.tensor.2d.shared::cta.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%r1], [%rd0, {%r1, %r2}], [%r3], %h1;", "a multicast is from"},
	} {
		d := New(Options{})
		text := kernelText("\n"+c.code, "%rd0")
		_, err := d.LoadModule("bad.ptx", []byte(text))
		if c.msg == "" {
			if err != nil {
				t.Errorf("%s: %v", c.code, err)
			}
			continue
		}
		var e *SyntaxError
		if !errors.As(err, &e) {
			t.Errorf("%s: error %v", c.code, err)
			continue
		}
		if line := strings.Split(text, "\n")[e.Line-1]; !strings.Contains(line, strings.Fields(c.code)[0]) || e.Module != "bad.ptx" {
			t.Errorf("%s: the error names line %d, %q", c.code, e.Line, line)
		}
		if want := strings.Replace(c.msg, ".rz is not supported", ".rz", 1); !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v does not say %q", c.code, err, c.msg)
		}
	}
}

func TestSeveralMistakesAreToldAtOnce(t *testing.T) {
	_, err := New(Options{}).LoadModule("bad.ptx", []byte(kernelText("foo.u32 %r1, %r2;\nbar.u32 %r3;\nbaz %r1;", "%rd0")))
	if err == nil || strings.Count(err.Error(), "bad.ptx:") != 3 {
		t.Errorf("%v", err)
	}
}

func TestLaunchesThatCannotBe(t *testing.T) {
	b := probe(t, Options{})
	f, err := b.mod.Function("row_sum")
	if err != nil {
		t.Fatal(err)
	}
	good := new(driver.Args).Addr(8).Addr(8).I32(1)
	for _, c := range []struct {
		cfg  driver.Config
		args *driver.Args
		msg  string
	}{
		{grid(1, 1, 256), good, "block of 256"},
		{driver.Config{Shared: 200 << 10, Block: driver.Dim{X: 32}}, good, "shared memory"},
		{grid(1, 70000, 32), good, "grid"},
		{grid(1, 1, 32), new(driver.Args).Addr(8).I32(1), "argument 1 has 4 bytes"},
		{grid(1, 1, 32), new(driver.Args).Addr(8).Addr(8), "2 arguments for 3"},
		{grid(1, 1, 32), new(driver.Args).Addr(8).Addr(8).I32(1).I32(2), "4 arguments for 3"},
	} {
		if err := b.dev.Launch(f, c.cfg, c.args); err == nil || !strings.Contains(err.Error(), c.msg) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.msg)
		}
	}
	if _, err := b.mod.Function("nope"); err == nil || !strings.Contains(err.Error(), "row_sum, reverse_tiles, add_one") {
		t.Errorf("%v", err)
	}
	a := f.Attributes()
	if a.MaxThreads != 128 || a.SharedBytes != 16 || a.ParamBytes != 20 || a.LocalBytes != 0 {
		t.Errorf("%+v", a)
	}
	b.fails(IllegalAddress, "row_sum", grid(1, 1, 32), new(driver.Args).Addr(0).Addr(8).I32(1))
}

func TestLint(t *testing.T) {
	for _, f := range []struct{ name, version, target string }{{"probe", "7.0", "sm_80"}, {"hopper", "8.0", "sm_90a"}} {
		text := readFile(t, "testdata/"+f.name+".ptx")
		for _, err := range Lint(f.name, []byte(text), f.version, f.target) {
			if !strings.Contains(err.Error(), "between wgmma.fence and") { // clang's zeroing, see spec/ptx.md 1.4
				t.Error(err)
			}
		}
		if errs := Lint(f.name, []byte(text), "6.0", ""); len(errs) == 0 {
			t.Error("a wrong version passes")
		}
	}
	hopper := readFile(t, "testdata/hopper.ptx")
	early := strings.Replace(hopper, "wgmma.wait_group.sync.aligned 0;", "", 1)
	found := false
	for _, err := range Lint("hopper", []byte(early), "", "") {
		found = found || strings.Contains(err.Error(), "before the wait")
	}
	if !found {
		t.Error("accumulators used before the wait pass")
	}
	spill := strings.Replace(kernelText("mov.u32 %r0, 1;", "%rd0"), ".reg .pred", ".local .align 8 .b8 depot[16];\n.reg .pred", 1)
	if errs := Lint("spill", []byte(spill), "", ""); len(errs) != 1 || !strings.Contains(errs[0].Error(), "16 bytes of local memory") {
		t.Errorf("%v", errs)
	}
}

// Broken text must give errors, never a panic: every prefix of a kernel, and every text with
// one token removed.
func TestBrokenTextIsAnError(t *testing.T) {
	text := readFile(t, "testdata/hopper.ptx")
	try := func(s string) {
		defer func() {
			if r := recover(); r != nil {
				t.Fatalf("panic %v on text ending %q", r, s[max(0, len(s)-80):])
			}
		}()
		Lint("x", []byte(s), "", "")
	}
	for i := 0; i < len(text); i += 211 {
		try(text[:i])
	}
	words := strings.SplitAfter(text, " ")
	for i := 0; i < len(words); i += 17 {
		try(strings.Join(words[:i], "") + strings.Join(words[min(i+1, len(words)):], ""))
	}
}
