package decoder

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// tensorCored is small with widths that tensor cores support.
func tensorCored() Config {
	c := small()
	c.Vocab, c.Hidden, c.Intermediate, c.Heads, c.KVHeads, c.HeadDim = 61, 64, 72, 2, 1, 32
	c.AttentionScale = attentionScale(32)
	return c
}

// TestBF16 compares a pass with bf16 matrices on a device with float32 on the host: the losses,
// and every gradient as a whole. The tolerance is the effect of rounding values and gradients
// to 8 bits, which is largest where terms cancel, in the gradients of queries and keys. The
// comparison with PyTorch's bf16 is in algo/train.
func TestBF16(t *testing.T) {
	lora := func(m *Model) error {
		adapt(t, m, LoRA{Rank: 3, Alpha: 3, Targets: []string{"all"}})
		return nil
	}
	for name, c := range map[string]struct {
		capability int
		setup      func(m *Model) error
	}{
		"full":        {80, (*Model).TrainAll},
		"lora":        {80, lora},
		"lora hopper": {90, lora},
		"untied": {80, func(m *Model) error {
			adapt(t, m, LoRA{Rank: 8, Alpha: 3, Targets: []string{"q_proj", "down_proj"}, ModulesToSave: []string{"lm_head", "k_proj"}})
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			host, dev := randomOn(t, cpu.New(2), tensorCored(), false), randomOn(t, optest.Device(t, c.capability), tensorCored(), true)
			if !dev.BF16() || attentionOf(dev, 0).q.Weight.BF16().IsNil() || dev.embed.BF16().IsNil() || dev.norm.weight.Data.IsNil() {
				t.Fatal("matrices are not bf16, or norms are")
			}
			for _, m := range []*Model{host, dev} {
				spread(t, m)
				if err := c.setup(m); err != nil {
					t.Fatal(err)
				}
			}
			b := ragged(host)
			o := Objective{Weight: sampleWeights(b)}
			want, got := passOn(t, host, b, o), passOn(t, dev, b, o)
			if e := distance(got.losses, want.losses); e > 2e-3 {
				t.Errorf("losses are off by %.1e of their length", e)
			}
			for name, g := range want.gradients {
				if e := distance(got.gradients[name], g); e > 0.2 {
					t.Errorf("gradient of %s is off by %.1e of its length", name, e)
				}
			}
		})
	}
}

// TestBF16Narrow: a model whose rows tensor cores do not support is entirely float32.
func TestBF16Narrow(t *testing.T) {
	m := randomOn(t, sim.New(sim.Options{}), small(), true)
	if m.BF16() || attentionOf(m, 0).q.Weight.Data.IsNil() {
		t.Error("rows of 12 are bf16")
	}
	if _, err := m.Losses(ragged(m), 0); err != nil {
		t.Fatal(err)
	}
}

// TestBF16Memory: the planned memory equals the memory used, and matrices take half.
func TestBF16Memory(t *testing.T) {
	for name, setup := range map[string]func(m *Model) error{
		"full": (*Model).TrainAll,
		"lora": func(m *Model) error {
			adapt(t, m, LoRA{Rank: 8, Alpha: 3, Targets: []string{"all"}})
			return nil
		},
		"none": func(*Model) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			m, wide := randomOn(t, sim.New(sim.Options{}), tensorCored(), true), random(t, 1, tensorCored())
			vectors := 0
			for _, p := range m.base() {
				if len(p.Shape) == 1 {
					vectors += p.Size()
				}
			}
			if got, want := m.Memory(1, 1).Weights, (wide.Memory(1, 1).Weights-wide.panelBytes())/2+uint64(2*vectors); got != want {
				t.Errorf("%d bytes of weights, want %d", got, want)
			}
			if err := setup(m); err != nil {
				t.Fatal(err)
			}
			b := sequences(m, 2, 40)
			if _, err := m.Backward(b, Objective{Weight: make([]float32, 80)}); err != nil {
				t.Fatal(err)
			}
			exactly(t, m, 80)
		})
	}
}

type passed struct {
	losses    []float32
	gradients map[string][]float32
}

func passOn(t *testing.T, m *Model, b Batch, o Objective) passed {
	for _, x := range m.Trainable() {
		reduce.Fill(m.dev, 0, x.Grad)
	}
	losses, err := m.Backward(b, o)
	if err != nil {
		t.Fatal(err)
	}
	p := passed{losses, map[string][]float32{}}
	for _, x := range m.Trainable() {
		if p.gradients[x.Name], err = driver.Read(m.dev, x.Grad); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// distance is |got - want| / |want|.
func distance(got, want []float32) float64 {
	var d, w float64
	for i := range want {
		d, w = d+math.Pow(float64(got[i]-want[i]), 2), w+math.Pow(float64(want[i]), 2)
	}
	return math.Sqrt(d / w)
}

// TestBF16Factors: the factors that a sink gets multiply to the gradients of a pass without a
// sink, which also keeps its values in bf16.
func TestBF16Factors(t *testing.T) {
	dev := optest.Device(t, 80)
	m := randomOn(t, dev, tensorCored(), true)
	spread(t, m)
	adapt(t, m, LoRA{Rank: 4, Alpha: 3, Targets: []string{"all"}})
	b := ragged(m)
	o := Objective{Weight: sampleWeights(b)}
	whole := passOn(t, m, b, o).gradients
	pairs := m.PairOffsets()
	_, err := m.PerSample(b, o, func(pair int, f gradproj.Factors) error {
		x, v := read(t, dev, f.X), read(t, dev, f.V)
		dA := make([]float32, f.Rank*f.In)
		for i := range len(b.Tokens) {
			for r := range f.Rank {
				for j := range f.In {
					dA[r*f.In+j] += v[i*f.Rank+r] * x[i*f.In+j]
				}
			}
		}
		if e := distance(whole[prefix+pairs[pair].Name+".lora_A.weight"], dA); e > 5e-2 {
			t.Errorf("%s: dA is off by %.1e of its length", pairs[pair].Name, e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, dev driver.Device, x driver.F32) []float32 {
	t.Helper()
	host, err := driver.Read(dev, x)
	if err != nil {
		t.Fatal(err)
	}
	return host
}

// TestLoadBF16: a float32 checkpoint is rounded to nearest even, a bf16 one copied
// unchanged; both have the same bits then, and vectors stay float32.
func TestLoadBF16(t *testing.T) {
	dir := unpacked(t)
	dev := sim.New(sim.Options{})
	m, err := Load(dev, dir, Options{BF16: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	w, err := checkpoint.OpenWeights(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	halves := 0
	for _, p := range m.base() {
		want := make([]float32, p.Size())
		if err := w.ReadFloat32(p.Name, want); err != nil {
			t.Fatal(err)
		}
		if !p.BF16().IsNil() {
			halves++
			for i, x := range want {
				bits := math.Float32bits(x)
				want[i] = math.Float32frombits((bits + 0x7fff + bits>>16&1) &^ 0xffff)
			}
		}
		got, err := p.Read(dev)
		if err != nil {
			t.Fatal(err)
		}
		optest.Same(t, p.Name, got, want)
	}
	if halves == 0 || len(m.base()) == halves {
		t.Errorf("%d of %d tensors are bf16", halves, len(m.base()))
	}
	testLoadBF16Bits(t, dev)
}

// testLoadBF16Bits reads a bf16 file whose NaN would not survive float32 and back.
func testLoadBF16Bits(t *testing.T, dev driver.Device) {
	header := `{"w":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}`
	raw := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := os.WriteFile(path, append(raw, 0x80, 0x3f, 0xc1, 0xff), 0o644); err != nil {
		t.Fatal(err)
	}
	w, err := checkpoint.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	p, err := tensor.NewBF16(dev, "w", 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Free(dev)
	if err := p.Load(dev, stored{w, "w"}, &tensor.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if bits, err := driver.Read(dev, p.BF16()); err != nil || !slices.Equal(bits, []driver.BF16{0x3f80, 0xffc1}) {
		t.Errorf("%#x, %v", bits, err)
	}
}

// TestPackedWeights: a pass over frozen weights that are packed has the same bits as without
// packing, their memory is in the plan before and after, and weights that change or are
// trained are no longer packed.
func TestPackedWeights(t *testing.T) {
	for what, packs := range map[string]bool{"float32": gemm.Packs(), "bf16": simd.Unit() != ""} {
		t.Run(what, func(t *testing.T) {
			if !packs {
				t.Skip("this processor multiplies such weights as they lie")
			}
			testPackedWeights(t, what == "bf16")
		})
	}
}

func testPackedWeights(t *testing.T, half bool) {
	host := cpu.New(2)
	t.Cleanup(func() { host.Close() })
	m := randomOn(t, host, tensorCored(), half)
	spread(t, m)
	adapt(t, m, LoRA{Rank: 3, Alpha: 3, Targets: []string{"all"}})
	b := ragged(m)
	o := Objective{Weight: sampleWeights(b)}
	plain, planned, used := passOn(t, m, b, o), m.Memory(1, 1).Weights, host.Used()
	if err := m.Reserve(Budget{}); err != nil {
		t.Fatal(err)
	}
	q := attentionOf(m, 0).q.Weight
	if got, taken := m.Memory(0, 0).Weights, host.Used()-used; got != planned || taken == 0 || q.PanelBytes(host) != 0 {
		t.Errorf("%d bytes of weights, %d of them taken last; planned were %d", got, taken, planned)
	}
	same := func(what string, got, want passed) {
		optest.Same(t, what+": losses", got.losses, want.losses)
		for name, g := range want.gradients {
			optest.Same(t, what+": "+name, got.gradients[name], g)
		}
	}
	same("packed", passOn(t, m, b, o), plain)
	if err := q.Update(host, func(w driver.F32) { reduce.Scale(host, 0.5, w) }); err != nil {
		t.Fatal(err)
	}
	changed := passOn(t, m, b, o)
	if slices.Equal(changed.losses, plain.losses) {
		t.Error("a changed weight changed no loss")
	}
	if err := m.Reserve(Budget{}); err != nil {
		t.Fatal(err)
	}
	same("packed again", passOn(t, m, b, o), changed)
	held, needs := host.Used(), 4*uint64(q.Size()) // its gradient
	if half {
		needs *= 2 // and float32 weights
	}
	if err := q.Train(host); err != nil {
		t.Fatal(err)
	}
	if q.PanelBytes(host) != 0 || host.Used() >= held+needs {
		t.Error("a weight that trains is packed still")
	}
}
