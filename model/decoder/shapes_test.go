package decoder

import (
	"fmt"
	"slices"
	"testing"

	"dataflex.dev/dataflex/kernels/rope"
)

// shapes are small models of every family that differs in what layers compute.
func shapes() map[string]Config {
	of := func(modelType string, change func(c *Config)) Config {
		c := small()
		c.ModelType, c.OutBias, c.MLPBias = modelType, false, false
		change(&c)
		return c
	}
	moe := func(c *Config, shared int, normalize bool) {
		c.MoE, c.Sparse = MoE{Experts: 4, TopK: 2, Intermediate: 10, Shared: shared, Normalize: normalize}, []bool{true, true}
	}
	latent := func(c *Config, queries int) {
		c.Latent = Latent{QueryRank: queries, Rank: 7, PlainDim: 6, RotaryDim: 4, ValueDim: 5}
		c.KVHeads, c.HeadDim, c.RotaryDim = c.Heads, 10, 4
	}
	delta := func(c *Config) {
		c.QKVBias, c.RotaryDim, c.Recurrent, c.ConvWidth = false, 4, []bool{true, false}, 4
		c.Eps = 0.01 // the first token's output is v times q·k, which is small; a small eps would make its norm too nonlinear for finite differences
		c.Linear = DeltaRule{KeyHeads: 1, ValueHeads: 2, KeyDim: 6, ValueDim: 5}
	}
	return map[string]Config{
		"llama":  small(),
		"qwen3":  of("qwen3", func(c *Config) { c.QKVBias = false }),
		"gemma":  of("gemma", func(c *Config) { c.EmbedScale = 3.4 }),
		"gemma2": of("gemma2", func(c *Config) { c.EmbedScale, c.AttnSoftCap, c.LogitSoftCap = 3.4, 2, 3 }),
		"gemma3": of("gemma3_text", func(c *Config) { c.EmbedScale, c.RopeLocalBase = 3.4, 100 }),
		"phi3":   of("phi3", func(c *Config) { c.QKVBias, c.Tied = false, false }),
		"olmo2":  of("olmo2", func(c *Config) { c.QKVBias = false }),
		"granite": of("granite", func(c *Config) {
			c.EmbedScale, c.ResidualScale, c.AttentionScale, c.LogitScale = 6, 0.5, 0.2, 0.25
		}),
		"olmo":       of("olmo", func(c *Config) { c.QKVBias, c.ClipQKV = false, 0.2 }),
		"nanochat":   of("nanochat", func(c *Config) { c.QKVBias, c.LogitSoftCap, c.Tied = false, 3, false }),
		"exaone4":    of("exaone4", func(c *Config) { c.NoRope = []bool{false, true} }),
		"ministral3": of("ministral3", func(c *Config) { c.QueryGrowth = rope.Growth{Beta: 0.4, Every: 2} }),
		"glm4":       of("glm4", func(c *Config) { c.RotaryDim = 4 }),
		"mixtral":    of("mixtral", func(c *Config) { moe(c, 0, true) }),
		"granitemoe": of("granitemoe", func(c *Config) { c.QKVBias = false; moe(c, 0, true) }),
		"cohere2":    of("cohere2", func(c *Config) { c.QKVBias, c.LogitScale = false, 0.25 }),
		"cohere":     of("cohere", func(c *Config) { c.QKVBias, c.LogitScale, c.QKNorm = false, 0.25, true }),
		"gpt_neox": of("gpt_neox", func(c *Config) {
			c.OutBias, c.MLPBias, c.Parallel, c.KVHeads, c.Tied, c.RotaryDim = true, true, true, c.Heads, false, 3
		}),
		"phi":        of("phi", func(c *Config) { c.OutBias, c.MLPBias, c.QKNorm, c.Tied, c.RotaryDim = true, true, true, false, 4 }),
		"stablelm":   of("stablelm", func(c *Config) { c.Parallel, c.QKNorm, c.RotaryDim = true, true, 2 }),
		"starcoder2": of("starcoder2", func(c *Config) { c.OutBias, c.MLPBias, c.Activation = true, true, "gelu" }),
		"nemotron":   of("nemotron", func(c *Config) { c.QKVBias, c.RotaryDim = false, 4 }),
		"falcon":     of("falcon", func(c *Config) { c.QKVBias, c.Parallel, c.TwoNorms = false, true, true }),
		"gpt2":       of("gpt2", func(c *Config) { c.OutBias, c.MLPBias, c.KVHeads = true, true, c.Heads }),
		"minimax_m2": of("minimax_m2", func(c *Config) { c.QKVBias = false; moe(c, 0, true) }),
		"glm4_moe": of("glm4_moe", func(c *Config) {
			c.RotaryDim, c.QKNorm = 4, true
			moe(c, 14, true)
			c.MoE.Scale, c.Sparse[0] = 1.5, false
		}),
		"deepseek_v3": of("deepseek_v3", func(c *Config) {
			latent(c, 9)
			moe(c, 10, true)
			c.MoE.Groups, c.MoE.TopGroups, c.MoE.Scale = 2, 2, 2.5
		}),
		"glm4_moe_lite": of("glm4_moe_lite", func(c *Config) {
			latent(c, 0)
			c.QKVBias, c.Latent.Halves = false, true
			moe(c, 20, false)
		}),
		"youtu": of("youtu", func(c *Config) { latent(c, 6); c.QKVBias = false }),
		"ernie4_5_moe": of("ernie4_5_moe", func(c *Config) {
			c.OutBias, c.MLPBias = true, true
			moe(c, 20, true)
			c.MoE.Floor = 0.6
		}),
		"gpt_oss": of("gpt_oss", func(c *Config) {
			c.OutBias, c.Tied = true, false
			moe(c, 0, true)
			c.MoE.Alpha, c.MoE.Limit = 1.7, 0.8
		}),
		"llama4": of("llama4_text", func(c *Config) {
			c.QKVBias, c.QKNorm, c.NoRope, c.Chunk = false, true, []bool{false, true}, []int{3, 0}
			c.Growth = rope.Growth{Beta: 0.4, Every: 2, First: 1}
			c.Window = []int{0, 0}
			moe(c, 20, false)
			c.Sparse[0] = false
		}),
		"qwen2_moe": of("qwen2_moe", func(c *Config) { moe(c, 14, false); c.Sparse[0] = false }),
		"qwen3_moe": of("qwen3_moe", func(c *Config) { moe(c, 0, true) }),
		"lfm2":      of("lfm2", func(c *Config) { c.QKVBias, c.Recurrent, c.ConvWidth, c.ConvBias = false, []bool{true, false}, 3, true }),
		"qwen3_next": of("qwen3_next", func(c *Config) {
			delta(c)
			moe(c, 14, true)
			c.Sparse[0], c.OutBias = false, true
		}),
		"qwen3_5":     of("qwen3_5_text", delta),
		"qwen3_5_moe": of("qwen3_5_moe_text", func(c *Config) { delta(c); moe(c, 14, true) }),
	}
}

// TestAdaptersFollowWeights checks every adapter's gradient against its weight's, from
// one pass that has both: W' = W + s·B A gives dA = s·Bᵀ dW and dB = s·dW Aᵀ.
func TestAdaptersFollowWeights(t *testing.T) {
	for name, c := range shapes() {
		t.Run(name, func(t *testing.T) {
			m := random(t, 2, c)
			spread(t, m)
			adapt(t, m, LoRA{Rank: 2, Alpha: 3, Targets: []string{"all"}})
			if err := m.TrainAll(); err != nil {
				t.Fatal(err)
			}
			b := ragged(m)
			if _, err := m.Backward(b, Objective{Weight: sampleWeights(b), Balance: 0.3}); err != nil {
				t.Fatal(err)
			}
			moved := 0
			for mod := range m.modules() {
				l, a := mod.linear, mod.linear.LoRA
				dW, A, B := l.Weight.Grad.Host(), a.A.Data.Host(), a.B.Data.Host()
				dA, dB := make([]float64, len(A)), make([]float64, len(B))
				for o := range l.Out {
					for r := range a.Rank {
						for i := range l.In {
							g := float64(a.Scale) * float64(dW[o*l.In+i])
							dA[r*l.In+i] += g * float64(B[o*a.Rank+r])
							dB[o*a.Rank+r] += g * float64(A[r*l.In+i])
						}
					}
				}
				if slicesNorm(dW) > 0 {
					moved++
				}
				within(t, mod.path+".lora_A", a.A.Grad.Host(), narrow(dA), 1e-4)
				within(t, mod.path+".lora_B", a.B.Grad.Host(), narrow(dB), 1e-4)
			}
			if n := len(m.PairOffsets()); moved < n/2 { // some experts have no token
				t.Errorf("%d of %d modules have a gradient", moved, n)
			}
		})
	}
}

// TestFamiliesPerSample: per-sample gradients add up to the batch's, and a sample has the same
// gradient alone, where experts get other numbers of rows.
func TestFamiliesPerSample(t *testing.T) {
	for name, c := range shapes() {
		t.Run(name, func(t *testing.T) {
			m := random(t, 2, c)
			spread(t, m)
			adapt(t, m, LoRA{Rank: 2, Alpha: 3, Targets: []string{"all"}})
			b := ragged(m)
			o := Objective{Weight: sampleWeights(b)}
			var rows, alone [][]float64
			if _, err := m.PerSample(b, o, flattened(total(m), b, &rows)); err != nil {
				t.Fatal(err)
			}
			_, whole := gradients(t, m, b, o)
			sum := make([]float64, len(whole))
			for i, row := range rows {
				from, to := b.Segments[i], b.Segments[i+1]
				one := Batch{Tokens: b.Tokens[from:to], Targets: b.Targets[from:to], Segments: []int32{0, to - from}}
				if _, err := m.PerSample(one, Objective{Weight: o.Weight[from:to]}, flattened(total(m), one, &alone)); err != nil {
					t.Fatal(err)
				}
				within(t, fmt.Sprintf("sample %d alone", i), narrow(alone[0]), narrow(row), 1e-5)
				for j, x := range row {
					sum[j] += x
				}
			}
			within(t, "sum", narrow(sum), whole, 1e-5)
		})
	}
}

// TestFamiliesBits: losses have the same bits packed and alone, and losses and gradients on any
// number of threads.
func TestFamiliesBits(t *testing.T) {
	for name, c := range shapes() {
		t.Run(name, func(t *testing.T) {
			var losses, all []float32
			for _, threads := range []int{1, 2, 5} {
				m := random(t, threads, c)
				adapt(t, m, LoRA{Rank: 2, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
				if err := m.TrainAll(); err != nil {
					t.Fatal(err)
				}
				b := ragged(m)
				l, g := gradients(t, m, b, Objective{Train: true, DropoutSeed: 5, Balance: 0.1, NEFTune: 2})
				if losses == nil {
					losses, all = l, g
				}
				if !slices.Equal(l, losses) || !slices.Equal(g, all) {
					t.Errorf("%d threads give other bits than 1", threads)
				}
				var alone []float32
				for i := range b.Segments[1:] {
					from, to := b.Segments[i], b.Segments[i+1]
					l, err := m.Losses(Batch{Tokens: b.Tokens[from:to], Targets: b.Targets[from:to]}, 0)
					if err != nil {
						t.Fatal(err)
					}
					alone = append(alone, l...)
				}
				if packed, _ := m.Losses(b, 0); !slices.Equal(packed, alone) {
					t.Error("losses of packed sequences differ from those of the sequences alone")
				}
			}
		})
	}
}

// TestFamiliesMemory: a pass takes the memory that was planned before training.
func TestFamiliesMemory(t *testing.T) {
	for name, c := range shapes() {
		c.Vocab, c.Hidden, c.Intermediate, c.Layers, c.Window = 100, 64, 160, 4, make([]int, 4)
		if c.Sparse != nil {
			c.Sparse = slices.Repeat([]bool{true}, 4)
			c.MoE.Intermediate, c.MoE.Shared = 80, 6*c.MoE.Shared
		}
		for _, trains := range []string{"full", "lora", "dora"} {
			t.Run(name+", "+trains, func(t *testing.T) {
				m := random(t, 1, c)
				if trains == "full" {
					if err := m.TrainAll(); err != nil {
						t.Fatal(err)
					}
				} else {
					adapt(t, m, LoRA{Rank: 8, Alpha: 16, Dropout: 0.1, Targets: []string{"all"}, DoRA: trains == "dora"})
				}
				b := sequences(m, 3, 64)
				if _, err := m.Backward(b, Objective{Train: true}); err != nil {
					t.Fatal(err)
				}
				exactly(t, m, 192)
			})
		}
	}
}
