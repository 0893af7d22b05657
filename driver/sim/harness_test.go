package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
)

// bench loads PTX and runs kernels for tests.
type bench struct {
	t   testing.TB
	dev *Device
	mod driver.Module
}

// newBench decodes text; edits are pairs (old, new), each of which must change it.
func newBench(t testing.TB, o Options, text string, edits ...string) *bench {
	t.Helper()
	for i := 0; i+1 < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			t.Fatalf("no %q in the PTX", edits[i])
		}
		text = strings.Replace(text, edits[i], edits[i+1], 1)
	}
	d := New(o)
	m, err := d.LoadModule("test.ptx", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t, d, m}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s is not here", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (b *bench) launch(kernel string, c driver.Config, a *driver.Args) error {
	b.t.Helper()
	f, err := b.mod.Function(kernel)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.dev.Launch(f, c, a)
}

func (b *bench) run(kernel string, c driver.Config, a *driver.Args) *Counters {
	b.t.Helper()
	if err := b.launch(kernel, c, a); err != nil {
		b.t.Fatal(err)
	}
	return b.dev.Last()
}

// fails runs a kernel that must fault with one of the kinds that kind lists, and returns the
// fault.
func (b *bench) fails(kind, kernel string, c driver.Config, a *driver.Args) *Fault {
	b.t.Helper()
	err := b.launch(kernel, c, a)
	var f *Fault
	if !errors.As(err, &f) {
		b.t.Fatalf("want a fault %q, have %v", kind, err)
	}
	if !strings.Contains(kind, f.Kind) {
		b.t.Fatalf("want a fault %q, have %v", kind, f)
	}
	if f.Line == 0 || f.Text == "" || f.Kernel != kernel {
		b.t.Fatalf("the fault does not say where: %+v", f)
	}
	return f
}

// alloc allocates n bytes that count as unwritten.
func (b *bench) alloc(name string, n int) driver.Memory {
	b.t.Helper()
	m, err := b.dev.AllocNamed(name, n)
	if err == nil {
		err = b.dev.Forget(m)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

func (b *bench) put(name string, p []byte) driver.Memory {
	b.t.Helper()
	m := b.alloc(name, len(p))
	if err := b.dev.CopyIn(m, p); err != nil {
		b.t.Fatal(err)
	}
	return m
}

func (b *bench) get(m driver.Memory) []byte {
	b.t.Helper()
	p := make([]byte, m.Size())
	if err := b.dev.CopyOut(p, m); err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *bench) putF32(name string, x []float32) driver.Memory {
	p := make([]byte, 4*len(x))
	for i, v := range x {
		le.PutUint32(p[4*i:], u32(v))
	}
	return b.put(name, p)
}

func (b *bench) putU32(name string, x ...uint32) driver.Memory {
	p := make([]byte, 4*len(x))
	for i, v := range x {
		le.PutUint32(p[4*i:], v)
	}
	return b.put(name, p)
}

func (b *bench) putBF16(name string, x []float32) driver.Memory {
	p := make([]byte, 2*len(x))
	for i, v := range x {
		le.PutUint16(p[2*i:], uint16(bf16(u32(v))))
	}
	return b.put(name, p)
}

func (b *bench) getF32(m driver.Memory) []float32 {
	p := b.get(m)
	x := make([]float32, len(p)/4)
	for i := range x {
		x[i] = f32(le.Uint32(p[4*i:]))
	}
	return x
}

func (b *bench) getU32(m driver.Memory) []uint32 {
	p := b.get(m)
	x := make([]uint32, len(p)/4)
	for i := range x {
		x[i] = le.Uint32(p[4*i:])
	}
	return x
}

func (b *bench) getBF16(m driver.Memory) []float32 {
	p := b.get(m)
	x := make([]float32, len(p)/2)
	for i := range x {
		x[i] = f32(uint32(le.Uint16(p[2*i:])) << 16)
	}
	return x
}

// normalBF16 returns normal numbers that are exact in bf16.
func normalBF16(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = f32(bf16(u32(float32(r.NormFloat64()))) << 16)
	}
	return x
}

func grid(x, y, threads int) driver.Config {
	return driver.Config{Grid: driver.Dim{X: x, Y: y}, Block: driver.Dim{X: threads}}
}

// kernelText makes a kernel with this body, with pointers as parameters and enough
// registers.
func kernelText(body string, pointers ...string) string {
	var params, loads []string
	for i, p := range pointers {
		params = append(params, fmt.Sprintf(".param .u64 p%d", i))
		loads = append(loads, fmt.Sprintf("ld.param.u64 %s, [p%d];", p, i))
	}
	return ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(" + strings.Join(params, ", ") + ")\n{\n" +
		".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<40>; .reg .f32 %f<40>; .reg .b64 %rd<20>; .reg .f64 %fd<9>;\n" +
		strings.Join(loads, "\n") + "\n" + body + "\nret;\n}\n"
}
