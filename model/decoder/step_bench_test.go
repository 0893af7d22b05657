package decoder

import (
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/rope"
)

// smol is the shape of SmolLM2-135M.
func smol() Config {
	c := Config{
		ModelType: "llama", Vocab: 49152, Hidden: 576, Intermediate: 1536, Layers: 30, Heads: 9, KVHeads: 3, HeadDim: 64,
		Eps: 1e-5, AttentionScale: 0.125, Tied: true, RopeTheta: 1e5, Rope: rope.Scaling{}, MaxPositions: 8192,
	}
	c.Window = make([]int, c.Layers)
	return c
}

// neox and qwen35 have smol's number of parameters, to a hundredth: gpt_neox with plain MLPs,
// LayerNorm, biases and a parallel residual, and qwen3_5 with gated delta rules in three of
// four layers.
func neox() Config {
	c := smol()
	c.ModelType, c.Intermediate, c.KVHeads, c.RotaryDim = "gpt_neox", 1920, c.Heads, 16
	c.QKVBias, c.OutBias, c.MLPBias, c.Parallel = true, true, true, true
	return c
}

func qwen35() Config {
	c := smol()
	c.ModelType, c.Intermediate, c.RotaryDim, c.ConvWidth = "qwen3_5_text", 1344, 16, 4
	c.Linear = DeltaRule{KeyHeads: 3, ValueHeads: 9, KeyDim: 64, ValueDim: 64}
	for i := range c.Layers {
		c.Recurrent = append(c.Recurrent, i%4 != 3)
	}
	return c
}

// random builds a model of that shape with small random weights.
func random(tb testing.TB, threads int, c Config) *Model {
	tb.Helper()
	dev := cpu.New(threads)
	tb.Cleanup(func() { dev.Close() })
	return randomOn(tb, dev, c, false)
}

// randomOn is random on a device, with matrices in bf16 if half is set.
func randomOn(tb testing.TB, dev driver.Device, c Config, half bool) *Model {
	tb.Helper()
	return randomFrom(tb, dev, c, forms{half: half})
}

// randomFrom is randomOn with tensors stored in other forms.
func randomFrom(tb testing.TB, dev driver.Device, c Config, how forms) *Model {
	tb.Helper()
	m, err := build(dev, "random", c, how)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.Close)
	r := rand.New(rand.NewPCG(1, 2))
	for _, p := range m.base() {
		err := p.Write(dev, func(w []float32) error {
			for i := range w {
				if w[i] = (r.Float32() - 0.5) * 0.07; len(p.Shape) == 1 {
					w[i]++
				}
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return m
}

// sequences packs n random sequences of that length, labels everywhere.
func sequences(m *Model, n, length int) Batch {
	r := rand.New(rand.NewPCG(3, 4))
	b := Batch{Segments: []int32{0}}
	for range n {
		for i := range length {
			b.Tokens = append(b.Tokens, r.Int32N(int32(m.config.Vocab)))
			target := r.Int32N(int32(m.config.Vocab))
			if i == length-1 {
				target = -100
			}
			b.Targets = append(b.Targets, target)
		}
		b.Segments = append(b.Segments, int32(len(b.Tokens)))
	}
	return b
}

func benchmarkTokens(b *testing.B, tokens int, pass func() error) {
	if err := pass(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := pass(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(tokens*b.N)/b.Elapsed().Seconds(), "tokens/s")
}

// BenchmarkLoRA is forward and backward of one micro-batch, r = 16 on all linears.
func BenchmarkLoRA(b *testing.B) { benchmarkLoRA(b, smol(), 0, false) }

// BenchmarkLoRABF16 is the same in bf16, where the processor has units for it.
func BenchmarkLoRABF16(b *testing.B) { benchmarkLoRA(b, smol(), 0, true) }

// BenchmarkLoRADropout is the same with a tenth of the adapters' inputs dropped.
func BenchmarkLoRADropout(b *testing.B) { benchmarkLoRA(b, smol(), 0.1, false) }

// BenchmarkFamilies is the step of BenchmarkLoRA for families whose layers are made of other
// parts, beside a llama of as many parameters.
func BenchmarkFamilies(b *testing.B) {
	for _, c := range []Config{smol(), neox(), qwen35()} {
		b.Run(c.ModelType, func(b *testing.B) { benchmarkLoRA(b, c, 0, false) })
	}
}

func benchmarkLoRA(b *testing.B, c Config, dropout float64, half bool) {
	dev := cpu.New(0)
	b.Cleanup(func() { dev.Close() })
	m := randomOn(b, dev, c, half)
	parameters := 0
	for _, p := range m.base() {
		parameters += p.Size()
	}
	l := LoRA{Rank: 16, Alpha: 32, Dropout: dropout, Targets: []string{"all"}}
	if err := m.AddLoRA(l, rand.New(rand.NewPCG(5, 6)).Float64); err != nil {
		b.Fatal(err)
	}
	batch := sequences(m, 4, 128)
	if err := m.Reserve(Budget{}); err != nil {
		b.Fatal(err)
	}
	benchmarkTokens(b, 512, func() error { _, err := m.Backward(batch, Objective{Train: true}); return err })
	b.ReportMetric(float64(m.tape.HighWater())/(1<<20), "MiB")
	b.ReportMetric(float64(parameters)/1e6, "Mparameters")
}

// BenchmarkPerSample is the gradients of a LESS pass, with a sink that takes nothing.
func BenchmarkPerSample(b *testing.B) {
	m := random(b, 0, smol())
	if err := m.AddLoRA(LoRA{Rank: 16, Alpha: 32, Targets: []string{"all"}}, rand.New(rand.NewPCG(5, 6)).Float64); err != nil {
		b.Fatal(err)
	}
	batch := sequences(m, 4, 128)
	sink := func(int, gradproj.Factors) error { return nil }
	benchmarkTokens(b, 512, func() error { _, err := m.PerSample(batch, Objective{}, sink); return err })
}

// BenchmarkFull is the same with every weight trained.
func BenchmarkFull(b *testing.B) {
	m := random(b, 0, smol())
	if err := m.TrainAll(); err != nil {
		b.Fatal(err)
	}
	batch := sequences(m, 4, 128)
	benchmarkTokens(b, 512, func() error { _, err := m.Backward(batch, Objective{}); return err })
}

// BenchmarkLosses is the forward pass alone.
func BenchmarkLosses(b *testing.B) {
	m := random(b, 0, smol())
	batch := sequences(m, 4, 128)
	benchmarkTokens(b, 512, func() error { _, err := m.Losses(batch, 0); return err })
}
