package decoder

import (
	"testing"

	"dataflex.dev/dataflex/kernels/gradproj"
)

// TestAllocations limits the allocations of the passes that training and selection repeat:
// once warm a pass allocates the losses that it returns and a closure or two per kernel, and
// not more for a longer batch.
func TestAllocations(t *testing.T) {
	m := random(t, 1, small())
	adapt(t, m, LoRA{Rank: 2, Alpha: 3, Dropout: 0.1, Targets: []string{"all"}})
	o := Objective{Train: true}
	short, long := sequences(m, 3, 8), sequences(m, 3, 60)
	for _, b := range []*Batch{&short, &long} {
		if err := m.check(b, o); err != nil { // completes positions
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		budget float64 // 2 layers
		run    func(b Batch) error
	}{
		{"losses", 60, func(b Batch) error { _, err := m.Losses(b, 0); return err }},
		{"backward", 155, func(b Batch) error { _, err := m.Backward(b, o); return err }},
		{"per sample", 180, func(b Batch) error {
			_, err := m.PerSample(b, o, func(int, gradproj.Factors) error { return nil })
			return err
		}},
	} {
		for _, b := range []Batch{long, short} {
			n := testing.AllocsPerRun(5, func() {
				if err := c.run(b); err != nil {
					t.Error(err)
				}
			})
			if t.Logf("%s, %d tokens: %v allocations", c.name, len(b.Tokens), n); n > c.budget {
				t.Errorf("%s, %d tokens: %v allocations, the budget is %v", c.name, len(b.Tokens), n, c.budget)
			}
		}
	}
}
