package ptx_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/ptx"

	_ "dataflex.dev/dataflex/kernels/adafactor"
	_ "dataflex.dev/dataflex/kernels/adamw"
	_ "dataflex.dev/dataflex/kernels/attention"
	_ "dataflex.dev/dataflex/kernels/cast"
	_ "dataflex.dev/dataflex/kernels/columns"
	_ "dataflex.dev/dataflex/kernels/deltanet"
	_ "dataflex.dev/dataflex/kernels/dora"
	_ "dataflex.dev/dataflex/kernels/dropout"
	_ "dataflex.dev/dataflex/kernels/embed"
	_ "dataflex.dev/dataflex/kernels/gemm"
	_ "dataflex.dev/dataflex/kernels/gradproj"
	_ "dataflex.dev/dataflex/kernels/lion"
	_ "dataflex.dev/dataflex/kernels/norm"
	_ "dataflex.dev/dataflex/kernels/peak"
	_ "dataflex.dev/dataflex/kernels/pool"
	_ "dataflex.dev/dataflex/kernels/quant"
	_ "dataflex.dev/dataflex/kernels/reduce"
	_ "dataflex.dev/dataflex/kernels/rope"
	_ "dataflex.dev/dataflex/kernels/router"
	_ "dataflex.dev/dataflex/kernels/shortconv"
	_ "dataflex.dev/dataflex/kernels/swiglu"
	_ "dataflex.dev/dataflex/kernels/topk"
	_ "dataflex.dev/dataflex/kernels/xent"
)

// TestLayouts: the Go parameters of every entry of every shipped PTX file match the PTX.
// kernels/dev, which is only for tests, has a test of its own.
func TestLayouts(t *testing.T) {
	files, err := filepath.Glob("../*/*.ptx")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		if filepath.Base(filepath.Dir(f)) != "dev" {
			optest.Layouts(t, f)
		}
	}
}

// TestEveryFamilyCountsItsLaunches: the tests of every package with PTX end with
// optest.Main, which fails if an entry has not been launched.
func TestEveryFamilyCountsItsLaunches(t *testing.T) {
	files, _ := filepath.Glob("../*/*.ptx")
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(f), "main_test.go"))
		if err != nil || !strings.Contains(string(text), "func TestMain(m *testing.M) { optest.Main(m) }") {
			t.Errorf("%s: no main_test.go with optest.Main beside it (%v)", f, err)
		}
	}
}

// declared is an entry with a tensor map, a struct {u64, i32, f32, i32 (and 4 bytes of
// padding)}, a float and an address.
const declared = `.version 7.0
.target sm_80
.address_size 64
.visible .entry f(
.param .align 64 .b8 f_param_0[128],
.param .align 8 .b8 f_param_1[24],
.param .f32 f_param_2,
.param .u64 .ptr .global .align 1 f_param_3
)
{
.reg .b32 %r<3>;
.reg .f32 %f<3>;
.reg .b64 %rd<3>;
ld.param.u64 %rd1, [f_param_1];
ld.param.v2.b32 {%r1, %r2}, [f_param_1+8];
ld.param.f32 %f1, [f_param_1+12];
ld.param.u32 %r1, [f_param_1+16];
ld.param.f32 %f2, [f_param_2];
ld.param.u64 %rd2, [f_param_3];
ret;
}
`

type inner struct {
	_ uintptr
	_ int32
	_ float32
	_ int32
}

// TestLayoutPlanted: each of these parameter lists differs from the PTX in one respect,
// which is found.
func TestLayoutPlanted(t *testing.T) {
	entries, err := sim.Declarations("f", declared)
	if err != nil {
		t.Fatal(err)
	}
	family := ptx.New("planted", declared)
	found := func(name string) []string { return optest.Differences(family.Layout(name), entries["f"]) }
	type tiles = driver.EncodedTensorMap

	ptx.Declare[struct {
		t tiles
		s inner
		f float32
		p uintptr
	}](family, "right")
	if d := found("right"); len(d) > 0 {
		t.Errorf("the right layout: %v", d)
	}

	ptx.Declare[struct {
		t tiles
		s inner
		f float32
	}](family, "a parameter too few")
	ptx.Declare[struct {
		t tiles
		s inner
		f float32
		n int32
		p uintptr
	}](family, "a parameter too many")
	ptx.Declare[struct {
		t tiles
		s inner
		p uintptr
		f float32
	}](family, "two parameters swapped")
	ptx.Declare[struct {
		t tiles
		s struct {
			p    uintptr
			n    int32
			x    float32
			m, o int32
			q    uintptr
		}
		f float32
		p uintptr
	}](family, "a longer struct")
	ptx.Declare[struct {
		t tiles
		s [6]uint32
		f float32
		p uintptr
	}](family, "a struct on 4 bytes")
	ptx.Declare[struct {
		t tiles
		s struct {
			n, m int32
			p    uintptr
			x    float32
		}
		f float32
		p uintptr
	}](family, "fields of a struct in another order")
	ptx.Declare[struct {
		t tiles
		s struct {
			p    uintptr
			x    float32
			n, m int32
		}
		f float32
		p uintptr
	}](family, "a number where a float is read")
	ptx.Declare[struct {
		t tiles
		s inner
		f int32
		p uintptr
	}](family, "a number as a float parameter")
	for _, name := range []string{
		"a parameter too few", "a parameter too many", "two parameters swapped", "a longer struct", "a struct on 4 bytes",
		"fields of a struct in another order", "a number where a float is read", "a number as a float parameter",
	} {
		if len(found(name)) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
}

// TestDeclarePanics: types that no kernel takes, a tensor map that is not 64-byte aligned,
// and a launch with other parameters than declared are programmer errors.
func TestDeclarePanics(t *testing.T) {
	family := ptx.New("panics", declared)
	optest.Panics(t, "ptx: no kernel takes a string (s)", func() { ptx.Declare[struct{ s string }](family, "f") })
	optest.Panics(t, "ptx: struct { p uintptr; t driver.EncodedTensorMap }.t is at offset 8, a kernel takes it at 64", func() {
		ptx.Declare[struct {
			p uintptr
			t driver.EncodedTensorMap
		}](family, "f")
	})
	one, two := ptx.Declare[struct{ p uintptr }](family, "f"), ptx.Declare[struct{ n uint64 }](family, "g*")
	q := ptx.On(optest.Device(t, 80))
	optest.Panics(t, "ptx: g1 is launched with a struct { p uintptr }, which was not declared for it", func() {
		one.Launch(q, "g1", ptx.Grid(1, 32), &struct{ p uintptr }{})
	})
	optest.Panics(t, "ptx: f is launched with a struct { n uint64 }, which was not declared for it", func() {
		two.Launch(q, "f", ptx.Grid(1, 32), &struct{ n uint64 }{})
	})
}
