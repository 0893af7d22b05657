package decoder

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/kernels/gradproj"
)

// flattened collects per-segment gradients from factors as the contract of
// gradproj.Factors defines them, in float64.
func flattened(total int, b Batch, rows *[][]float64) FactorSink {
	*rows = nil
	for range b.Segments[1:] {
		*rows = append(*rows, make([]float64, total))
	}
	return func(pair int, f gradproj.Factors) error {
		x, u, dy, v := f.X.Host(), f.U.Host(), f.DY.Host(), f.V.Host()
		for i, row := range *rows {
			dA, dB := row[f.Offset:], row[f.Offset+f.Rank*f.In:]
			for t := int(f.Segments[i]); t < int(f.Segments[i+1]); t++ {
				outer(dA, v[t*f.Rank:(t+1)*f.Rank], x[t*f.In:(t+1)*f.In], 1)
				outer(dB, dy[t*f.Out:(t+1)*f.Out], u[t*f.Rank:(t+1)*f.Rank], float64(f.Scale))
			}
		}
		return nil
	}
}

// outer adds scale·a bᵀ to m.
func outer(m []float64, a, b []float32, scale float64) {
	for i, x := range a {
		for j, y := range b {
			m[i*len(b)+j] += scale * float64(x) * float64(y)
		}
	}
}

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}

// sampleWeights gives every sequence's tokens the weight of the mean over its own labelled
// tokens.
func sampleWeights(b Batch) []float32 {
	w := make([]float32, len(b.Tokens))
	for i := range b.Segments[1:] {
		n := 0
		for j := b.Segments[i]; j < b.Segments[i+1]; j++ {
			if b.Targets[j] >= 0 {
				n++
			}
		}
		for j := b.Segments[i]; j < b.Segments[i+1]; j++ {
			w[j] = 1 / float32(n)
		}
	}
	return w
}

func total(m *Model) (n int) {
	for _, p := range m.Trainable() {
		n += p.Size()
	}
	return n
}

// TestPerSample compares per-sample losses and gradients with PEFT's, row by row
// and in PEFT's order of parameters, all samples packed into few batches.
func TestPerSample(t *testing.T) {
	for _, name := range []string{"tiny-llama", "tiny-qwen2"} {
		t.Run(name, func(t *testing.T) {
			w := golden(t, shared, "persample", name, "persample.safetensors")
			m := open(t, 2, filepath.Join(shared, "models", name))
			if err := m.LoadAdapter(filepath.Join(shared, "models", name+"-lora")); err != nil {
				t.Fatal(err)
			}
			gradients, losses := floats(t, w, "gradient"), floats(t, w, "loss")
			size := total(m)
			if len(gradients) != len(losses)*size {
				t.Fatalf("%d trainable numbers, recorded are %d", size, len(gradients)/len(losses))
			}
			const packed = 5
			for first := 0; first < len(losses); first += packed {
				b := Batch{Segments: []int32{0}}
				for i := first; i < min(first+packed, len(losses)); i++ {
					b = appendSample(b, floats(t, w, fmt.Sprintf("input_ids.%d", i)), floats(t, w, fmt.Sprintf("labels.%d", i)))
				}
				var rows [][]float64
				got, err := m.PerSample(b, Objective{Weight: sampleWeights(b)}, flattened(size, b, &rows))
				if err != nil {
					t.Fatal(err)
				}
				n := len(rows)
				within(t, "losses", sampleMeans(b, got), losses[first:first+n], 1e-5)
				for i, row := range rows {
					k := first + i
					within(t, fmt.Sprintf("gradient of sample %d", k), narrow(row), gradients[k*size:(k+1)*size], 1e-4)
				}
			}
			for _, p := range m.Trainable() {
				if slicesNorm(p.Grad.Host()) != 0 {
					t.Fatalf("PerSample touched the gradient of %s", p.Name)
				}
			}
		})
	}
}

func appendSample(b Batch, ids, labels []float32) Batch {
	for j, id := range ids {
		target := int32(-100)
		if j+1 < len(ids) {
			target = int32(labels[j+1])
		}
		b.Tokens, b.Targets = append(b.Tokens, int32(id)), append(b.Targets, target)
	}
	b.Segments = append(b.Segments, int32(len(b.Tokens)))
	return b
}

func slicesNorm(v []float32) (sum float64) {
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

// TestSamplesSumToBatch checks that per-sample gradients add up to the batch's,
// with dropout on and adapters on some modules only.
func TestSamplesSumToBatch(t *testing.T) {
	for _, targets := range [][]string{{"all"}, {"q_proj", "mlp.down_proj"}, {"model.layers.1.self_attn.v_proj"}} {
		m := random(t, 2, small())
		adapt(t, m, LoRA{Rank: 3, Alpha: 6, Dropout: 0.2, Targets: targets})
		b := ragged(m)
		o := Objective{Weight: sampleWeights(b), Smoothing: 0.1, Train: true, DropoutSeed: 7}
		var rows [][]float64
		if _, err := m.PerSample(b, o, flattened(total(m), b, &rows)); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Backward(b, o); err != nil {
			t.Fatal(err)
		}
		sum := make([]float64, total(m))
		for _, row := range rows {
			for j, x := range row {
				sum[j] += x
			}
		}
		var whole []float32
		for _, p := range m.Trainable() {
			whole = append(whole, p.Grad.Host()...)
		}
		within(t, fmt.Sprint(targets), whole, narrow(sum), 1e-5)
	}
}

// TestPerSampleRefuses: a sink's error is returned, and trained weights outside of adapters are
// refused.
func TestPerSampleRefuses(t *testing.T) {
	m := random(t, 1, small())
	adapt(t, m, LoRA{Rank: 2, Alpha: 4, Targets: []string{"all"}})
	full := fmt.Errorf("the store is full")
	if _, err := m.PerSample(ragged(m), Objective{}, func(int, gradproj.Factors) error { return full }); err != full {
		t.Errorf("got %v, want the sink's error", err)
	}
	if err := m.Train(func(name string) bool { return name == "model.norm.weight" }); err != nil {
		t.Fatal(err)
	}
	_, err := m.PerSample(ragged(m), Objective{}, func(int, gradproj.Factors) error { return nil })
	if want := "per-sample factors exist for LoRA adapters only, but model.norm.weight is trained"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// small is a shape that reaches every branch: grouped heads, biases, a sliding window, a head
// dimension of its own, tied embeddings.
func small() Config {
	return Config{
		ModelType: "llama", Vocab: 29, Hidden: 12, Intermediate: 20, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 6,
		Eps: 1e-5, AttentionScale: attentionScale(6), Tied: true, QKVBias: true, OutBias: true, MLPBias: true,
		Window: []int{0, 4}, RopeTheta: 1e4, MaxPositions: 64,
	}
}

// ragged packs three sequences of different lengths whose first tokens have no label.
func ragged(m *Model) Batch {
	b := Batch{Segments: []int32{0}}
	for _, n := range []int{7, 2, 11} {
		s := sequences(m, 1, n)
		s.Targets[0] = -100
		if n > 2 {
			s.Targets[1] = -100
		} else {
			s.Targets[0] = 3
		}
		b.Tokens, b.Targets = append(b.Tokens, s.Tokens...), append(b.Targets, s.Targets...)
		b.Segments = append(b.Segments, int32(len(b.Tokens)))
	}
	return b
}

// adapt adds adapters and sets B to random values, so that it is not zero.
func adapt(t testing.TB, m *Model, l LoRA) {
	t.Helper()
	r := rand.New(rand.NewPCG(8, 9))
	if err := m.AddLoRA(l, r.Float64); err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Trainable() {
		w, err := p.Read(m.dev)
		if err != nil {
			t.Fatal(err)
		}
		for i := range w {
			w[i] += r.Float32()*0.4 - 0.2
		}
		if err := p.Upload(m.dev, w); err != nil {
			t.Fatal(err)
		}
	}
}
