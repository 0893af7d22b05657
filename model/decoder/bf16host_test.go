package decoder

import (
	"math/rand/v2"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

// widened is c with rows of matrices that the processor's unit for bf16 multiplies.
func widened(c Config) Config {
	c.Hidden, c.Intermediate, c.Vocab = 64, 72, 61
	if c.Latent.Rank == 0 {
		c.HeadDim, c.AttentionScale = 16, attentionScale(16)
	}
	c.MoE.Intermediate, c.MoE.Shared = 24, (c.MoE.Shared+7)&^7
	return c
}

// TestBF16HostKeepsBits: in bf16 on the host, for every family with adapters of a rank that is no
// multiple of a tile and with dropout: a row has the same losses and the same factors of its
// gradients alone and among others, and micro-batches that share a pass have the bits of a pass
// for each.
func TestBF16HostKeepsBits(t *testing.T) {
	if simd.Unit() == "" {
		t.Skip("no unit for bf16")
	}
	for name, c := range shapes() {
		t.Run(name, func(t *testing.T) {
			m := randomOn(t, cpu.New(2), widened(c), true)
			spread(t, m)
			adapt(t, m, LoRA{Rank: 3, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
			if m.Apart() == "" {
				sharedPass(t, m, rand.New(rand.NewPCG(7, 8)))
			}
			b := ragged(m)
			o := Objective{Weight: sampleWeights(b)}
			var all, one [][]float64
			losses, err := m.PerSample(b, o, flattened(total(m), b, &all))
			must(t, err)
			for i, lo := range b.Segments[:len(b.Segments)-1] {
				hi := b.Segments[i+1]
				row := Batch{Tokens: b.Tokens[lo:hi], Targets: b.Targets[lo:hi], Segments: []int32{0, hi - lo}}
				alone, err := m.PerSample(row, Objective{Weight: o.Weight[lo:hi]}, flattened(total(m), row, &one))
				must(t, err)
				evaluated, err := m.Losses(row, 0)
				must(t, err)
				if !slices.Equal(alone, losses[lo:hi]) || !slices.Equal(evaluated, losses[lo:hi]) || !slices.Equal(one[0], all[i]) {
					t.Errorf("row %d has other losses or factors among others than alone", i)
				}
			}
		})
	}
}
