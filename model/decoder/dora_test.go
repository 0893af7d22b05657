package decoder

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/model/checkpoint"
)

// TestDoRADifferences compares the gradients of A, B and the magnitudes with slopes. The
// norm counts as a constant: when A or B change, the magnitudes are changed so that
// magnitude divided by norm stays the same.
func TestDoRADifferences(t *testing.T) {
	mixture := shapes()["mixtral"]
	mixture.MoE.TopK = mixture.MoE.Experts
	for name, c := range map[string]Config{"dense": small(), "mixture": mixture} {
		for _, dropout := range []float64{0, 0.3} {
			m := random(t, 2, c)
			spread(t, m)
			adapt(t, m, LoRA{Rank: 2, Alpha: 3, Dropout: dropout, DoRA: true, Targets: []string{"all"}})
			b := ragged(m)
			o := Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 11}
			_, all := gradients(t, m, b, o)
			all = slices.Clone(all)
			at := 0
			for _, p := range m.Trainable() {
				gradient, w := all[at:at+p.Size()], p.Data.Host()
				at += p.Size()
				hold := func() {}
				if !strings.HasSuffix(p.Name, "magnitude_vector") {
					hold = holdScales(t, m, p.Name)
				}
				scale := slicesNorm(gradient)/math.Sqrt(float64(len(gradient))) + 4e-3
				for i := 0; i < len(w); i += 1 + len(w)/2 {
					old := w[i]
					move := func(h float32) float64 {
						w[i] = old + h
						hold()
						x := scalar(t, m, b, o)
						w[i] = old
						hold()
						return x
					}
					const h = 1.0 / 32
					central := func(h float32) float64 { return (move(h) - move(-h)) / (2 * float64(h)) }
					want := (4*central(h/2) - central(h)) / 3
					if d := math.Abs(float64(gradient[i]) - want); d > 0.01*(math.Abs(want)+scale) {
						t.Errorf("%s dropout %v %s[%d]: gradient %g, slope %g", name, dropout, p.Name, i, gradient[i], want)
					}
				}
			}
		}
	}
}

// holdScales returns a function that sets the magnitudes of the parameter's module so that
// its scales stay at their present values.
func holdScales(t *testing.T, m *Model, name string) func() {
	t.Helper()
	for _, mod := range m.adapter.modules {
		if !strings.HasPrefix(name, prefix+mod.path+".lora_") {
			continue
		}
		magnitude := mod.linear.LoRA.DoRA.Magnitude.Data.Host()
		norms := func() []float32 {
			n, err := mod.linear.AdaptedNorms(m.dev)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		start, n := slices.Clone(magnitude), norms()
		return func() {
			for o, x := range norms() {
				magnitude[o] = start[o] * x / n[o]
			}
		}
	}
	t.Fatalf("%s is of no adapter", name)
	return nil
}

// TestDoRAOnTheInterpreter compares losses and gradients with the host's, in float32 and
// in bf16, with dropout and without.
func TestDoRAOnTheInterpreter(t *testing.T) {
	for half, dropout := range map[bool]float64{false: 0, true: 0.2} {
		host, dev := randomOn(t, cpu.New(2), tensorCored(), false), randomOn(t, optest.Device(t, 80), tensorCored(), half)
		for _, m := range []*Model{host, dev} {
			spread(t, m)
			adapt(t, m, LoRA{Rank: 3, Alpha: 3, Dropout: dropout, DoRA: true, Targets: []string{"all"}})
		}
		b := ragged(host)
		o := Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 5}
		want, got := passOn(t, host, b, o), passOn(t, dev, b, o)
		closeToHost(t, fmt.Sprintf("bf16 %v dropout %v", half, dropout), half, got, want)
	}
}

// TestAdapterVariants saves adapters of every kind, continues them on a new model, and
// merges them: the losses stay the same.
func TestAdapterVariants(t *testing.T) {
	base := unpacked(t)
	for name, l := range map[string]LoRA{
		"dora":      {Rank: 4, Alpha: 12, DoRA: true, Targets: []string{"q_proj", "down_proj"}},
		"pissa":     {Rank: 4, Alpha: 12, PiSSA: "pissa_niter_16", Targets: []string{"all"}},
		"rs pissa":  {Rank: 3, Alpha: 6, PiSSA: "pissa", RSLoRA: true, Targets: []string{"v_proj"}},
		"dora, too": {Rank: 3, Alpha: 6, PiSSA: "pissa", DoRA: true, Targets: []string{"up_proj"}},
	} {
		m := open(t, 2, base)
		plain, _ := m.Losses(ragged(m), 0)
		adapt(t, m, l)
		b, dir := ragged(m), t.TempDir()
		want, err := m.Losses(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(want, plain) {
			t.Errorf("%s: the adapter changes nothing", name)
		}
		if err := m.SaveAdapter(dir); err != nil {
			t.Fatal(err)
		}
		again := open(t, 2, base)
		if err := again.LoadAdapter(dir); err != nil {
			t.Fatal(err)
		}
		if got, _ := again.Losses(b, 0); !slices.Equal(got, want) {
			t.Errorf("%s: a saved adapter gives other losses", name)
		}
		if err := again.Merge(); err != nil {
			t.Fatal(err)
		}
		got, _ := again.Losses(b, 0)
		within(t, name+": losses after merging", got, want, 1e-5)
	}
}

// TestFreshVariants: new adapters of every kind do not change the model's results.
func TestFreshVariants(t *testing.T) {
	base := unpacked(t)
	for name, l := range map[string]LoRA{
		"dora": {Rank: 4, Alpha: 12, DoRA: true, Targets: []string{"all"}}, "pissa": {Rank: 8, Alpha: 4, PiSSA: "pissa", Targets: []string{"all"}},
	} {
		m := open(t, 1, base)
		b := ragged(m)
		want, _ := m.Losses(b, 0)
		want = slices.Clone(want)
		if err := m.AddLoRA(l, func() float64 { return 0.3 }); err != nil {
			t.Fatal(err)
		}
		got, _ := m.Losses(b, 0)
		within(t, name, got, want, 1e-5)
	}
}

// TestSavePiSSA: the conversion to plain LoRA has the same effect on the model's own weights
// as the adapter on the remainder that PiSSA left.
func TestSavePiSSA(t *testing.T) {
	base, dir := unpacked(t), t.TempDir()
	m := open(t, 1, base)
	adapt(t, m, LoRA{Rank: 3, Alpha: 6, PiSSA: "pissa", Targets: []string{"q_proj", "down_proj"}})
	b := ragged(m)
	want, _ := m.Losses(b, 0)
	if err := m.SavePiSSA(dir); err != nil {
		t.Fatal(err)
	}
	plain := open(t, 1, base)
	if err := plain.LoadAdapter(filepath.Join(dir, "pissa_converted")); err != nil {
		t.Fatal(err)
	}
	got, _ := plain.Losses(b, 0)
	within(t, "losses of the converted adapter", got, want, 1e-5)
	if r := attentionOf(plain, 0).q.LoRA.Rank; r != 6 {
		t.Errorf("the converted adapter has rank %d, want 6", r)
	}
}

// TestPrincipalParts: PiSSA subtracts the best approximation of that rank. The matrix is
// made from known singular values and vectors.
func TestPrincipalParts(t *testing.T) {
	r := optest.Rand(5)
	for _, s := range []struct{ out, in, rank int }{{6, 9, 2}, {9, 6, 6}, {150, 90, 4}} {
		n := min(s.out, s.in)
		u, v := optest.To[float64](optest.Normal(r, s.out*n, 1)), optest.To[float64](optest.Normal(r, s.in*n, 1))
		orthonormal(u, s.out, n)
		orthonormal(v, s.in, n)
		w, best := make([]float32, s.out*s.in), make([]float64, s.out*s.in)
		for i := range s.out {
			for j := range s.in {
				var all, top float64
				for k := range n {
					x := u[i*n+k] * v[j*n+k] * math.Pow(0.9, float64(k))
					if all += x; k < s.rank {
						top += x
					}
				}
				w[i*s.in+j], best[i*s.in+j] = float32(all), top
			}
		}
		whole := slices.Clone(w)
		a, b, err := PiSSA(cpu.New(1), w, s.out, s.in, s.rank, 2)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.out {
			for j := range s.in {
				var x float64
				for k := range s.rank {
					x += 2 * float64(b[i*s.rank+k]) * float64(a[k*s.in+j])
				}
				at := i*s.in + j
				if math.Abs(x-best[at]) > 1e-5 || math.Abs(float64(whole[at])-x-float64(w[at])) > 1e-6 {
					t.Fatalf("%v: entry %d is %v and %v is left of %v, want %v", s, at, x, w[at], whole[at], best[at])
				}
			}
		}
	}
	if _, _, err := PiSSA(cpu.New(1), make([]float32, 6), 2, 3, 4, 1); err == nil || !strings.Contains(err.Error(), "lower lora_rank") {
		t.Errorf("rank 4 of a 2 by 3 matrix: %v", err)
	}
}

// TestPatterns: adapters with ranks and alphas that differ between modules, and without some
// layers, load, train and merge; saving them again keeps these.
func TestPatterns(t *testing.T) {
	base, dir := unpacked(t), t.TempDir()
	config := `{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj", "nowhere"],
		"rank_pattern": {"layers.0.self_attn.q_proj": 2}, "alpha_pattern": {"q_proj": 6}, "exclude_modules": ["layers.0.mlp.down_proj"]}`
	if err := os.WriteFile(filepath.Join(dir, storage.AdapterConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	m := open(t, 1, base)
	adapt(t, m, LoRA{Rank: 4, Alpha: 8, Targets: []string{"q_proj", "down_proj"}})
	shrink := attentionOf(m, 0).q.LoRA // q of layer 0 gets rank 2, and layer 0's down_proj none
	kept := map[string][]float32{}
	for _, p := range m.Trainable() {
		x := slices.Clone(p.Data.Host())
		switch {
		case strings.Contains(p.Name, "layers.0.mlp"):
			continue
		case p == shrink.A:
			x = x[:len(x)/2]
		case p == shrink.B:
			for o := range len(x) / 4 {
				copy(x[2*o:], x[4*o:4*o+2])
			}
			x = x[:len(x)/2]
		}
		kept[p.Name] = x
	}
	writeAdapter(t, dir, m, kept)
	got := open(t, 2, base)
	if err := got.LoadAdapter(dir); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		rank  int
		scale float32
	}{{2, 3}, {4, 1.5}} {
		if a := attentionOf(got, i).q.LoRA; a.Rank != want.rank || a.Scale != want.scale {
			t.Errorf("q_proj of layer %d has rank %d and scale %v, want %v", i, a.Rank, a.Scale, want)
		}
	}
	if mlpOf(got, 0).down.LoRA != nil || mlpOf(got, 1).down.LoRA.Scale != 2 {
		t.Error("exclude_modules or the others' alpha are not kept")
	}
	b := ragged(got)
	before, _ := got.Losses(b, 0)
	before = slices.Clone(before)
	if _, err := got.Backward(b, Objective{Weight: sampleWeights(b)}); err != nil {
		t.Fatal(err)
	}
	again := t.TempDir()
	if err := got.SaveAdapter(again); err != nil {
		t.Fatal(err)
	}
	third := open(t, 1, base)
	if err := third.LoadAdapter(again); err != nil {
		t.Fatal(err)
	}
	if x, _ := third.Losses(b, 0); !slices.Equal(x, before) {
		t.Error("saved again, the adapter gives other losses")
	}
	if err := third.Merge(); err != nil {
		t.Fatal(err)
	}
	x, _ := third.Losses(b, 0)
	within(t, "losses after merging", x, before, 1e-5)
}

// writeAdapter writes an adapter's tensors with m's names and the shapes that fit.
func writeAdapter(t *testing.T, dir string, m *Model, data map[string][]float32) {
	t.Helper()
	shapes := map[string][]int{}
	for _, p := range m.Trainable() {
		x, ok := data[p.Name]
		if !ok {
			continue
		}
		shapes[p.Name] = slices.Clone(p.Shape)
		if len(x) != p.Size() { // half of the rank
			side := map[bool]int{true: 0, false: 1}[strings.Contains(p.Name, "lora_A")]
			shapes[p.Name][side] /= 2
		}
	}
	var tensors []checkpoint.Tensor
	for _, name := range slices.Sorted(maps.Keys(data)) {
		tensors = append(tensors, checkpoint.Tensor{Name: name, Shape: shapes[name], F32: data[name]})
	}
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, storage.AdapterFile), nil, tensors); err != nil {
		t.Fatal(err)
	}
}
