package tensor_test

import (
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/model/tensor"
)

// TestHalf: a bf16 parameter rounds what is written to it, trains with additional float32
// weights, grows, and frees all its memory.
func TestHalf(t *testing.T) {
	onSim := sim.New(sim.Options{})
	for _, dev := range []driver.Device{cpu.New(1), onSim} {
		ok := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		expect := func(what string, p *tensor.Param, want ...float32) {
			t.Helper()
			if got, err := p.Read(dev); err != nil || !slices.Equal(got, want) {
				t.Errorf("%v, %s: %v %v, want %v", dev.Kind(), what, got, err, want)
			}
		}
		before := dev.Used()
		p, err := tensor.NewBF16(dev, "w", 1, 2)
		ok(err)
		ok(p.Upload(dev, []float32{1 + 1.0/256, 3})) // a tie, to even
		expect("rounded", p, 1, 3)
		if p.Bytes() != 4 {
			t.Errorf("%d bytes, want 4", p.Bytes())
		}
		ok(p.Train(dev))
		expect("trained", p, 1, 3)
		ok(p.Upload(dev, []float32{1 + 3.0/256, 5}))
		expect("float32 weights", p, 1+3.0/256, 5)
		ok(p.Grow(dev, 2))
		expect("grown", p, 1+3.0/256, 5, 0, 0)
		if !p.Trainable() || p.Bytes() != 4*4+2*4 {
			t.Errorf("%d bytes, trainable %v", p.Bytes(), p.Trainable())
		}
		p.Freeze(dev)
		expect("frozen", p, 1+4.0/256, 5, 0, 0)
		p.Free(dev)
		if dev.Used() != before {
			t.Errorf("%v: %d bytes are not given back", dev.Kind(), dev.Used()-before)
		}
	}
}
