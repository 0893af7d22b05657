package decoder

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/xent"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
)

// shared is the folder of recorded reference values, where the checkout has one.
const shared = "../../../shared/golden"

// golden opens a file of recorded values and skips the test where there is none.
func golden(t *testing.T, path ...string) *checkpoint.Weights {
	t.Helper()
	name := filepath.Join(path...)
	if _, err := os.Stat(name); err != nil {
		t.Skipf("no recorded values: %v", err)
	}
	w, err := checkpoint.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func floats(t *testing.T, w *checkpoint.Weights, name string) []float32 {
	t.Helper()
	shape, ok := w.Shape(name)
	if !ok {
		t.Fatalf("no recorded %s", name)
	}
	n := 1
	for _, d := range shape {
		n *= d
	}
	v := make([]float32, n)
	if err := w.ReadFloat32(name, v); err != nil {
		t.Fatal(err)
	}
	return v
}

func open(t testing.TB, threads int, dir string) *Model {
	t.Helper()
	dev := cpu.New(threads)
	m, err := Load(dev, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); dev.Close() })
	return m
}

// recorded is the batch of golden/families, packed.
type recorded struct {
	batch  Batch
	weight []float32 // of the mean over labelled tokens
	rows   []int     // of every packed token in the padded batch
}

func record(t *testing.T, w *checkpoint.Weights) recorded {
	ids, mask, labels := floats(t, w, "input_ids"), floats(t, w, "attention_mask"), floats(t, w, "labels")
	shape, _ := w.Shape("input_ids")
	width := shape[1]
	r := recorded{batch: Batch{PadLen: width, Segments: []int32{0}}}
	labelled := 0
	for i := range ids {
		if i%width == 0 && i > 0 {
			r.batch.Segments = append(r.batch.Segments, int32(len(r.batch.Tokens)))
		}
		if mask[i] == 0 {
			continue
		}
		target := int32(-100)
		if i%width < width-1 {
			target = int32(labels[i+1])
		}
		if target >= 0 {
			labelled++
		}
		r.batch.Tokens = append(r.batch.Tokens, int32(ids[i]))
		r.batch.Targets = append(r.batch.Targets, target)
		r.rows = append(r.rows, i)
	}
	r.batch.Segments = append(r.batch.Segments, int32(len(r.batch.Tokens)))
	for range r.batch.Tokens {
		r.weight = append(r.weight, 1/float32(labelled))
	}
	return r
}

// logits runs the model without a gradient.
func logits(t *testing.T, m *Model, b Batch) []float32 {
	t.Helper()
	if err := m.check(&b, Objective{}); err != nil {
		t.Fatal(err)
	}
	m.tape.Begin(autograd.Mode{})
	h := m.final(m.stack(&b, 0, m.config.Layers, nil))
	c := m.config
	out := make([]float32, len(b.Tokens)*c.Vocab)
	xent.Logits(m.dev, m.headParams(len(b.Tokens), 0), h.Data(), m.head.Data, driver.FromHost(out))
	return out
}

// worst is the largest difference as a share of want's largest entry.
func worst(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var diff, top float64
	for i := range want {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if math.IsNaN(d) {
			return d
		}
		diff, top = max(diff, d), max(top, math.Abs(float64(want[i])))
	}
	if diff == 0 {
		return 0
	}
	return diff / top
}

func within(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if e := worst(got, want); !(e <= tolerance) {
		t.Errorf("%s: off by %.2e of the largest entry, allowed %.0e", what, e, tolerance)
	}
}

// TestFamilies compares logits, losses and every gradient with transformers.
func TestFamilies(t *testing.T) {
	for _, name := range []string{
		"llama", "llama-headdim", "llama-mha-bias", "llama3-rope", "llama-linear-rope", "llama-dynamic-rope",
		"llama-yarn-rope", "internlm-like-llama-sharded", "qwen2", "mistral", "mistral-window",
		"qwen3", "gemma", "gemma2", "gemma3", "phi3", "phi3-longrope", "olmo2", "granite", "glm4",
		"mixtral", "qwen2_moe", "qwen3_moe",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(shared, "families", name)
			testFamily(t, golden(t, dir, "golden.safetensors"), open(t, 2, dir))
		})
	}
}

func testFamily(t *testing.T, w *checkpoint.Weights, m *Model) {
	r := record(t, w)
	b := r.batch
	vocab := m.config.Vocab
	all := floats(t, w, "logits")
	var want []float32
	for _, row := range r.rows {
		want = append(want, all[row*vocab:(row+1)*vocab]...)
	}
	within(t, "logits", logits(t, m, b), want, 1e-4)
	testRouting(t, w, m, r.rows)

	losses, err := m.Losses(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	balance, err := m.BalanceLoss()
	if err != nil {
		t.Fatal(err)
	}
	total := m.config.MoE.AuxCoef * balance
	for i, l := range losses {
		total += float64(l * r.weight[i])
	}
	within(t, "loss", []float32{float32(total)}, floats(t, w, "loss"), 1e-5)
	within(t, "sample_mean_nll", sampleMeans(b, losses), floats(t, w, "sample_mean_nll"), 1e-5)

	if err := m.TrainAll(); err != nil {
		t.Fatal(err)
	}
	trained, err := m.Backward(b, Objective{Weight: r.weight, Balance: float32(m.config.MoE.AuxCoef)})
	if err != nil {
		t.Fatal(err)
	}
	within(t, "losses of Backward", trained, losses, 0)
	for _, p := range m.Trainable() {
		within(t, "grad."+p.Name, p.Grad.Host(), floats(t, w, "grad."+p.Name), 1e-4)
	}
}

// testRouting compares the routers' probabilities and the balance loss after a pass.
func testRouting(t *testing.T, w *checkpoint.Weights, m *Model, rows []int) {
	t.Helper()
	routings := m.Routings()
	if len(routings) == 0 {
		return
	}
	if len(routings) != m.config.Layers {
		t.Fatalf("%d routed layers", len(routings))
	}
	balance, err := m.BalanceLoss()
	if err != nil {
		t.Fatal(err)
	}
	within(t, "aux_loss", []float32{float32(balance)}, floats(t, w, "aux_loss"), 1e-5)
	n := m.config.MoE.Experts
	for i, r := range routings {
		all := floats(t, w, fmt.Sprintf("router_logits.%d", i))
		var want []float32
		for _, row := range rows {
			var sum float64
			for _, z := range all[row*n : (row+1)*n] {
				sum += math.Exp(float64(z))
			}
			for _, z := range all[row*n : (row+1)*n] {
				want = append(want, float32(math.Exp(float64(z))/sum))
			}
		}
		within(t, fmt.Sprintf("router %d", i), r.Probabilities().Host(), want, 1e-4)
	}
}

// sampleMeans is the mean loss over each segment's labelled tokens.
func sampleMeans(b Batch, losses []float32) []float32 {
	var means []float32
	for i := range b.Segments[1:] {
		var sum, n float64
		for j := b.Segments[i]; j < b.Segments[i+1]; j++ {
			if b.Targets[j] >= 0 {
				sum, n = sum+float64(losses[j]), n+1
			}
		}
		means = append(means, float32(sum/n))
	}
	return means
}

// TestUnsupported checks that a family that is not there is refused by name.
func TestUnsupported(t *testing.T) {
	dir := t.TempDir()
	config := `{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "hidden_size": 8, "intermediate_size": 8,
		"num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	dev := cpu.New(1)
	defer dev.Close()
	_, err := Load(dev, dir, Options{})
	want := filepath.Join(dir, "config.json") + `: model_type "gpt2" (GPT2LMHeadModel) is not supported; supported are: gemma, gemma2, gemma3_text, ` +
		`glm4, granite, llama, mistral, mixtral, olmo2, phi3, qwen2, qwen2_moe, qwen3, qwen3_moe`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
