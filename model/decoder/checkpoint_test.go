package decoder

import (
	"math"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/gradproj"
)

// equal fails if any bit differs.
func equal(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d numbers, want %d", what, len(got), len(want))
		return
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Errorf("%s: number %d is %v, want %v", what, i, got[i], want[i])
			return
		}
	}
}

// same checks that a pass has the same bits with layers recomputed, balance losses included,
// and returns the memory of both.
func same(t *testing.T, m *Model, b Batch, o Objective) {
	t.Helper()
	want := passOn(t, m, b, o)
	want.losses = slices.Clone(want.losses)
	for name, g := range want.gradients { // on the host they are the model's own memory
		want.gradients[name] = slices.Clone(g)
	}
	balance, err := m.BalanceLoss()
	if err != nil {
		t.Fatal(err)
	}
	m.CheckpointLayers(true)
	defer m.CheckpointLayers(false)
	got := passOn(t, m, b, o)
	equal(t, "losses", got.losses, want.losses)
	for name, g := range want.gradients {
		equal(t, name, got.gradients[name], g)
	}
	if again, err := m.BalanceLoss(); err != nil || again != balance {
		t.Errorf("balance loss %v, want %v (%v)", again, balance, err)
	}
}

// TestCheckpointLayers: in every family recomputed layers have the same bits as stored ones,
// with adapters with dropout, noise and the routers' balance loss, and when all weights are
// trained.
func TestCheckpointLayers(t *testing.T) {
	for name, c := range shapes() {
		t.Run(name, func(t *testing.T) {
			m := randomOn(t, cpu.New(2), c, false)
			spread(t, m)
			b := ragged(m)
			o := Objective{Weight: sampleWeights(b), Smoothing: 0.1, Train: true, DropoutSeed: 7, Balance: 0.3, NEFTune: 5}
			if err := m.TrainAll(); err != nil {
				t.Fatal(err)
			}
			same(t, m, b, o)
			adapt(t, m, LoRA{Rank: 2, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
			same(t, m, b, o)
		})
	}
}

// TestCheckpointLayersOnDevices: the same with the kernels, also in bf16, for a dense model,
// a mixture of experts, and one with a delta rule.
func TestCheckpointLayersOnDevices(t *testing.T) {
	for _, name := range []string{"llama", "qwen2_moe", "qwen3_next"} {
		for capability, half := range map[int]bool{80: false, 90: true} {
			c := shapes()[name]
			if half {
				wide := tensorCored()
				c.Vocab, c.Hidden, c.Intermediate, c.Heads, c.KVHeads, c.HeadDim = wide.Vocab, wide.Hidden, wide.Intermediate, wide.Heads, wide.KVHeads, wide.HeadDim
				if c.MoE.Experts > 0 {
					c.MoE.Intermediate, c.MoE.Shared = 16, 24
				}
			}
			m := randomOn(t, sim.New(sim.Options{Capability: capability}), c, half)
			adapt(t, m, LoRA{Rank: 2, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
			b := ragged(m)
			same(t, m, b, Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 7, Balance: 0.3})
		}
	}
}

// TestCheckpointFactors: per-sample factors come in the same order with the same bits; and a
// model of which only the last layer is trained stores nothing of the layers before it.
func TestCheckpointFactors(t *testing.T) {
	m := randomOn(t, cpu.New(2), shapes()["qwen3_moe"], false)
	adapt(t, m, LoRA{Rank: 2, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
	b := ragged(m)
	factors := func() (pairs []int, x []float32) {
		_, err := m.PerSample(b, Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 3}, func(pair int, f gradproj.Factors) error {
			pairs = append(pairs, pair)
			for _, s := range []driver.F32{f.X, f.U, f.DY, f.V} {
				x = append(x, s.Host()...)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return pairs, x
	}
	pairs, want := factors()
	m.CheckpointLayers(true)
	again, got := factors()
	if !slices.Equal(again, pairs) || len(pairs) == 0 {
		t.Errorf("pairs %v, want %v", again, pairs)
	}
	equal(t, "factors", got, want)
}

// TestCheckpointMemory: the planned memory equals the memory used, and for a deep model it
// is that of the layers' inputs and one layer.
func TestCheckpointMemory(t *testing.T) {
	c := shapes()["llama"]
	c.Layers, c.Window = 24, make([]int, 24)
	const tokens = 3000
	for _, dev := range []driver.Device{plan.New(cpu.New(2)), plan.New(sim.New(sim.Options{Capability: 90}))} {
		m := randomOn(t, closing(t, dev), c, false)
		adapt(t, m, LoRA{Rank: 2, Alpha: 3, Targets: []string{"all"}})
		kept := m.Memory(tokens, tokens).Activations
		m.CheckpointLayers(true)
		if _, err := m.Backward(sequences(m, 1, tokens), Objective{Weight: make([]float32, tokens), Train: true}); err != nil {
			t.Fatal(err)
		}
		exactly(t, m, tokens)
		inputs := uint64(4 * tokens * c.Hidden * c.Layers)
		if again := m.Memory(tokens, tokens).Activations; again > inputs+3*kept/uint64(c.Layers) || again < inputs {
			t.Errorf("%s: %d bytes with layers computed again, %d kept, %d of inputs", dev.Kind(), again, kept, inputs)
		}
	}
}
