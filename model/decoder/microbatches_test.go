package decoder

import (
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/reduce"
)

// sharedPass compares one pass over random micro-batches with one pass per micro-batch: losses
// and gradients have the same bits, with dropout and noise.
func sharedPass(t *testing.T, m *Model, r *rand.Rand) {
	t.Helper()
	var joined Batch
	var parts []Part
	var weight []float32
	var each []Batch
	joined.Segments = []int32{0}
	for range 2 + r.IntN(2) {
		b := Batch{Segments: []int32{0}}
		for range 1 + r.IntN(2) {
			s := sequences(m, 1, 1+r.IntN(9))
			b.Tokens, b.Targets = append(b.Tokens, s.Tokens...), append(b.Targets, s.Targets...)
			b.Segments = append(b.Segments, int32(len(b.Tokens)))
		}
		b.PadLen = r.IntN(20)
		at := int32(len(joined.Tokens))
		for _, end := range b.Segments[1:] {
			joined.Segments = append(joined.Segments, at+end)
		}
		joined.Tokens, joined.Targets = append(joined.Tokens, b.Tokens...), append(joined.Targets, b.Targets...)
		parts, each = append(parts, Part{len(b.Tokens), b.PadLen, r.Uint64()}), append(each, b)
		for range b.Tokens {
			weight = append(weight, r.Float32())
		}
	}
	o := Objective{Smoothing: 0.1, Train: true, NEFTune: 5}
	zero := func() {
		for _, p := range m.Trainable() {
			reduce.Fill(m.dev, 0, p.Grad)
		}
	}
	read := func() (all [][]float32) {
		for _, p := range m.Trainable() {
			g, err := driver.Read(m.dev, p.Grad)
			must(t, err)
			all = append(all, append([]float32(nil), g...))
		}
		return all
	}
	zero()
	var losses []float32
	rest := weight
	for i, b := range each {
		o.DropoutSeed, o.Weight, rest = parts[i].DropoutSeed, rest[:len(b.Tokens)], rest[len(b.Tokens):]
		l, err := m.Backward(b, o)
		must(t, err)
		losses = append(losses, l...)
	}
	want := read()
	zero()
	o.DropoutSeed, o.Weight, o.Parts = 0, weight, parts
	got, err := m.Backward(joined, o)
	must(t, err)
	equal(t, "losses", got, losses)
	for i, g := range read() {
		equal(t, m.Trainable()[i].Name, g, want[i])
	}
}

// TestPartsKeepBits: see sharedPass; for every family whose micro-batches may share a pass,
// with adapters with dropout, plain and DoRA, and when all weights are trained.
func TestPartsKeepBits(t *testing.T) {
	shared := 0
	for name, c := range shapes() {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, 8))
			m := randomOn(t, cpu.New(2), c, false)
			spread(t, m)
			must(t, m.TrainAll())
			if m.Apart() == "" {
				shared++
				sharedPass(t, m, r)
			}
			must(t, m.Train(func(string) bool { return false }))
			adapt(t, m, LoRA{Rank: 3, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
			if m.Apart() == "" {
				shared++
				sharedPass(t, m, r)
			} else if c.MoE.Experts == 0 {
				t.Errorf("adapters on a model without experts do not share passes: %s", m.Apart())
			}
			if m.Apart() == "" { // without dropout, adapters are computed in the product with packed weights
				m = randomOn(t, cpu.New(2), c, false)
				spread(t, m)
				adapt(t, m, LoRA{Rank: 3, Alpha: 3, Targets: []string{"all"}})
				must(t, m.Reserve(Budget{}))
				sharedPass(t, m, r)
			}
		})
	}
	if shared < 20 {
		t.Errorf("only %d models share passes", shared)
	}
}

// TestPartsKeepBitsOnDevices: the same with the kernels, in float32 and in bf16.
func TestPartsKeepBitsOnDevices(t *testing.T) {
	for capability, half := range map[int]bool{80: false, 90: true} {
		for _, dora := range []bool{false, true} {
			m := randomOn(t, sim.New(sim.Options{Capability: capability}), tensorCored(), half)
			adapt(t, m, LoRA{Rank: 2, Alpha: 3, Dropout: 0.2, DoRA: dora, Targets: []string{"all"}})
			sharedPass(t, m, rand.New(rand.NewPCG(9, 10)))
		}
	}
}

// TestPartsRefused: an error if several micro-batches cannot share a pass, or if the parts do
// not consist of whole sequences.
func TestPartsRefused(t *testing.T) {
	m := randomOn(t, cpu.New(1), shapes()["qwen3_moe"], false)
	b := sequences(m, 2, 3)
	for _, parts := range [][]Part{{{3, 0, 1}, {3, 0, 2}}, {{2, 0, 1}, {4, 0, 2}}, {{3, 0, 1}}, {{6, 0, 1}, {0, 0, 1}}} {
		if _, err := m.Backward(b, Objective{Parts: parts}); err == nil {
			t.Errorf("%v is no error", parts)
		}
	}
	if _, err := m.Backward(b, Objective{Parts: []Part{{6, 0, 1}}}); err != nil {
		t.Error(err)
	}
}
