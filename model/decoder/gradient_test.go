package decoder

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/cpu"
)

// scalar is the objective's value in float64 from the losses of Backward.
func scalar(t *testing.T, m *Model, b Batch, o Objective) float64 {
	t.Helper()
	losses, err := m.Backward(b, o)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for i, l := range losses {
		sum += float64(l) * float64(o.Weight[i])
	}
	return sum
}

// slope is the derivative of the objective along p[i] by central differences,
// extrapolated (Richardson) so that steps can be large enough for float32 losses.
func slope(t *testing.T, m *Model, b Batch, o Objective, w []float32, i int) float64 {
	central := func(h float32) float64 {
		old := w[i]
		w[i] = old + h
		up, above := scalar(t, m, b, o), w[i]
		w[i] = old - h
		down, below := scalar(t, m, b, o), w[i]
		w[i] = old
		return (up - down) / (float64(above) - float64(below))
	}
	const h = 1.0 / 32
	return (4*central(h/2) - central(h)) / 3
}

// TestFiniteDifferences checks entries of every parameter's gradient, with all weights
// trained and with adapters with dropout. It detects errors of 1 %, as a wrong or missing
// term causes; the recorded gradients show rounding errors.
func TestFiniteDifferences(t *testing.T) {
	setups := map[string]func(m *Model) error{
		"full": (*Model).TrainAll,
		"lora": func(m *Model) error {
			adapt(t, m, LoRA{Rank: 2, Alpha: 3, RSLoRA: true, Dropout: 0.3, Targets: []string{"all"}})
			return nil
		},
		"some": func(m *Model) error {
			return m.Train(func(name string) bool {
				return slices.Contains([]string{"model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.k_proj.bias", "model.norm.weight"}, name)
			})
		},
	}
	for name, setup := range setups {
		t.Run(name, func(t *testing.T) { differences(t, small(), setup) })
	}
	for name, c := range shapes() {
		c.ClipQKV = 0              // it is not differentiable at its bounds
		c.MoE.TopK = c.MoE.Experts // so that the choice does not depend on the weights
		t.Run(name, func(t *testing.T) { differences(t, c, (*Model).TrainAll) })
	}
}

func differences(t *testing.T, c Config, setup func(*Model) error) {
	m := random(t, 1, c)
	spread(t, m)
	if err := setup(m); err != nil {
		t.Fatal(err)
	}
	b := ragged(m)
	o := Objective{Weight: make([]float32, len(b.Tokens)), Smoothing: 0.1, Train: true, DropoutSeed: 11}
	for i := range o.Weight {
		o.Weight[i] = 0.1 + 0.05*float32(i%5)
	}
	_, all := gradients(t, m, b, o)
	for _, p := range m.Trainable() {
		gradient, w := all[:p.Size()], p.Data.Host()
		all = all[p.Size():]
		// Losses near 4 are rounded to 2^-22: 20 of them with weights near 0.2 leave 2e-7,
		// and slope divides that by 1/32 and multiplies by 4/3: 1e-5, which is within 1 % of
		// 3e-3.
		scale := slicesNorm(gradient)/math.Sqrt(float64(len(gradient))) + 3e-3
		for i := 0; i < len(w); i += 1 + len(w)/4 {
			want := slope(t, m, b, o, w, i)
			if d := math.Abs(float64(gradient[i]) - want); d > 0.01*(math.Abs(want)+scale) {
				t.Errorf("%s[%d]: gradient %g, slope %g", p.Name, i, gradient[i], want)
			}
		}
	}
}

// spread makes the weights large enough for every term to matter.
func spread(t *testing.T, m *Model) {
	for _, p := range m.base() {
		if len(p.Shape) < 2 || strings.Contains(p.Name, "norm") { // norms of heads may be matrices
			continue
		}
		w, err := p.Read(m.dev)
		if err != nil {
			t.Fatal(err)
		}
		for i := range w {
			w[i] *= 8
		}
		if err := p.Upload(m.dev, w); err != nil {
			t.Fatal(err)
		}
	}
}

// gradients runs Backward from zero gradients and returns losses and all gradients.
func gradients(t *testing.T, m *Model, b Batch, o Objective) (losses, all []float32) {
	t.Helper()
	for _, p := range m.Trainable() {
		clear(p.Grad.Host())
	}
	losses, err := m.Backward(b, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Trainable() {
		all = append(all, p.Grad.Host()...)
	}
	return losses, all
}

// TestThreads checks that every bit is the same for every number of threads.
func TestThreads(t *testing.T) {
	for _, full := range []bool{false, true} {
		var losses, all []float32
		for _, threads := range []int{1, 2, 3, 8} {
			c := small()
			c.Vocab, c.Hidden, c.Intermediate = 500, 72, 132
			m := random(t, threads, c)
			if full {
				if err := m.TrainAll(); err != nil {
					t.Fatal(err)
				}
			} else {
				adapt(t, m, LoRA{Rank: 8, Alpha: 16, Dropout: 0.1, Targets: []string{"all"}})
			}
			l, g := gradients(t, m, sequences(m, 5, 37), Objective{Train: true, DropoutSeed: 1})
			if losses == nil {
				losses, all = l, g
			}
			if !slices.Equal(l, losses) || !slices.Equal(g, all) {
				t.Errorf("full %v: %d threads give other bits than 1", full, threads)
			}
		}
	}
}

// TestPacking checks that a sequence has the same losses, bit for bit, alone and packed
// anywhere, and that gradients of a packed batch are the sum of those of its sequences.
func TestPacking(t *testing.T) {
	m := random(t, 2, small())
	if err := m.TrainAll(); err != nil {
		t.Fatal(err)
	}
	b := ragged(m)
	packed, gradient := gradients(t, m, b, Objective{})
	var alone []float32
	sum := make([]float64, len(gradient))
	for i := range b.Segments[1:] {
		from, to := b.Segments[i], b.Segments[i+1]
		l, g := gradients(t, m, Batch{Tokens: b.Tokens[from:to], Targets: b.Targets[from:to]}, Objective{})
		alone = append(alone, l...)
		for j, x := range g {
			sum[j] += float64(x)
		}
	}
	if !slices.Equal(packed, alone) {
		t.Error("losses of packed sequences differ from those of the sequences alone")
	}
	within(t, "gradient", gradient, narrow(sum), 1e-5)
	again, _ := m.Losses(b, 0)
	if !slices.Equal(packed, again) {
		t.Error("Losses and Backward differ")
	}
}

// TestSteadyState checks that passes after the first do not allocate memory on the device,
// and that the plan before training covers what they use.
func TestSteadyState(t *testing.T) {
	c := small()
	c.Vocab, c.Hidden, c.Intermediate, c.Layers, c.Window = 300, 96, 256, 6, make([]int, 6)
	for _, setup := range []string{"lora", "some", "full", "none"} {
		t.Run(setup, func(t *testing.T) {
			m := random(t, 1, c)
			switch setup {
			case "lora":
				adapt(t, m, LoRA{Rank: 8, Alpha: 16, Dropout: 0.1, Targets: []string{"all"}})
			case "some":
				adapt(t, m, LoRA{Rank: 8, Alpha: 16, Targets: []string{"q_proj", "v_proj"}})
			case "full":
				if err := m.TrainAll(); err != nil {
					t.Fatal(err)
				}
			}
			b := sequences(m, 4, 128)
			run := func() error { _, err := m.Backward(b, Objective{Train: true}); return err }
			if setup == "none" {
				run = func() error { _, err := m.Losses(b, 0); return err }
			}
			if err := run(); err != nil {
				t.Fatal(err)
			}
			dev := m.dev.(*cpu.Device)
			used := dev.Used()
			if err := run(); err != nil {
				t.Fatal(err)
			}
			if dev.Used() != used {
				t.Errorf("the second pass took %d bytes", dev.Used()-used)
			}
			exactly(t, m, 512)
		})
	}
}

// TestBatchErrors checks the errors for invalid batches.
func TestBatchErrors(t *testing.T) {
	m := random(t, 1, small())
	for _, c := range []struct {
		want string
		b    Batch
	}{
		{"a batch without tokens", Batch{}},
		{"a batch of 2 tokens with 1 targets, 0 positions and 0 weights", Batch{Tokens: []int32{1, 2}, Targets: []int32{1}}},
		{"token 29 at position 1 of the batch: the model's vocabulary has 29 entries", Batch{Tokens: []int32{1, 29}, Targets: []int32{1, 1}}},
		{"target 31 at position 0 of the batch: the model's vocabulary has 29 entries", Batch{Tokens: []int32{1, 2}, Targets: []int32{31, 1}}},
		{"segments [0 1] of a batch of 2 tokens must start with 0 and end with 2", Batch{Tokens: []int32{1, 2}, Targets: []int32{1, 1}, Segments: []int32{0, 1}}},
		{"segments [0 2 2] must increase", Batch{Tokens: []int32{1, 2}, Targets: []int32{1, 1}, Segments: []int32{0, 2, 2}}},
		{"position -1 at token 1 of the batch", Batch{Tokens: []int32{1, 2}, Targets: []int32{1, 1}, Positions: []int32{0, -1}}},
	} {
		if _, err := m.Losses(c.b, 0); fmt.Sprint(err) != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
