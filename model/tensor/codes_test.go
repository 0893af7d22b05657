package tensor_test

import (
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/model/tensor"
)

// numbers is a source of float32 numbers.
type numbers []float32

func (n numbers) DType() string             { return "F32" }
func (n numbers) Float32(x []float32) error { copy(x, n); return nil }
func (n numbers) BF16([]driver.BF16) error  { panic("not asked for") }

// TestCoded: a matrix in codes rounds what is loaded to the nearest codes, counts and frees
// its memory, and refuses to be written to.
func TestCoded(t *testing.T) {
	for _, dev := range []driver.Device{cpu.New(1), sim.New(sim.Options{})} {
		before := dev.Used()
		f := quant.Format{Kind: quant.Int8}
		p, err := tensor.NewCoded(dev, f, false, "w", 2, 3)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := p.Coded(); !ok || got != f || p.Narrows() || p.Bytes() != f.Bytes(2, 3) || dev.Used() != before+uint64(p.Bytes()) {
			t.Errorf("%v: %v %v, %d bytes, %d used", dev.Kind(), got, ok, p.Bytes(), dev.Used()-before)
		}
		if err := p.Load(dev, numbers{127, 2.4, -3.6, 0, 0, 0}, &tensor.Buffer{}); err != nil {
			t.Fatal(err)
		}
		want := []float32{127, 2, -4, 0, 0, 0}
		same := func(what string, got []float32) {
			t.Helper()
			for i := range want {
				if d := got[i] - want[i]; d > 1e-5 || d < -1e-5 {
					t.Errorf("%v, %s: %v, want %v", dev.Kind(), what, got, want)
				}
			}
		}
		got, err := p.Read(dev)
		if err != nil {
			t.Fatal(err)
		}
		same("read", got)
		if err := p.Widened(dev, func(w driver.F32) {
			x, err := driver.Read(dev, w)
			if err != nil {
				t.Error(err)
			}
			same("widened", x)
		}); err != nil {
			t.Error(err)
		}
		for what, err := range map[string]error{
			"training": p.Train(dev), "writing": p.Upload(dev, want), "changing": p.Update(dev, func(driver.F32) { t.Error("called") }),
		} {
			if err == nil || !strings.Contains(err.Error(), what+" w: its weights are quantised (int8)") {
				t.Errorf("%s: %v", what, err)
			}
		}
		p.Free(dev)
		if dev.Used() != before {
			t.Errorf("%v: %d bytes are not given back", dev.Kind(), dev.Used()-before)
		}
	}
}
