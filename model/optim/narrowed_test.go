package optim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/model/tensor"
)

// TestStepsWriteTheCopies: after a step of any optimizer, over whole parameters or parts of
// them, a parameter's bf16 copy is its float32 weights rounded to nearest even. Products of
// adapters read the copy.
func TestStepsWriteTheCopies(t *testing.T) {
	interpreter := sim.New(sim.Options{})
	defer interpreter.Close()
	for _, dev := range []driver.Device{cpu.New(1), interpreter} {
		for _, name := range kinds {
			for _, parts := range []bool{false, true} {
				if parts && names[name].whole != "" {
					continue
				}
				t.Run(fmt.Sprint(dev.Kind(), name, parts), func(t *testing.T) { stepsWriteCopy(t, dev, name, parts) })
			}
		}
	}
}

func stepsWriteCopy(t *testing.T, dev driver.Device, name string, parts bool) {
	p := must(tensor.NewNarrowed(dev, "q_proj.lora_B.weight", 12, 8))(t)
	defer p.Free(dev)
	if err := p.Train(dev); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 3))
	draw := func(x []float32) error {
		for i := range x {
			x[i] = random.Float32() - 0.5
		}
		return nil
	}
	if err := p.Write(dev, draw); err != nil {
		t.Fatal(err)
	}
	if err := driver.Write(dev, p.Grad, draw); err != nil {
		t.Fatal(err)
	}
	before := expectCopy(t, dev, p)
	stepped := []*tensor.Param{p}
	if parts {
		stepped = nil
		for from, n := range map[int]int{0: 40, 40: 56} {
			v := &tensor.Param{Name: fmt.Sprint(p.Name, from), Shape: []int{n}}
			v.View(p, from)
			stepped = append(stepped, v)
		}
	}
	o := must(New(name, dev, stepped, settings))(t)
	defer o.Close()
	o.Step(0.1, 1)
	moved := 0
	for i, x := range expectCopy(t, dev, p) {
		if x != before[i] {
			moved++
		}
	}
	if moved < p.Size()/2 {
		t.Errorf("%d of %d elements of the copy moved", moved, p.Size())
	}
}

// expectCopy compares p's copy with its weights, and returns it.
func expectCopy(t *testing.T, dev driver.Device, p *tensor.Param) []driver.BF16 {
	t.Helper()
	x := must(p.Read(dev))(t)
	half := append([]driver.BF16(nil), must(driver.Read(dev, p.BF16()))(t)...)
	for i := range x {
		b := math.Float32bits(x[i])
		if want := driver.BF16((b + 0x7fff + b>>16&1) >> 16); half[i] != want {
			t.Fatalf("element %d: %#x beside %g, want %#x", i, half[i], x[i], want)
		}
	}
	return half
}

func must[T any](x T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}
