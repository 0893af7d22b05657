package decoder

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
)

func normal() func() float64 { return rand.New(rand.NewPCG(5, 6)).NormFloat64 }

// fresh calls Init with the given config.json.
func fresh(t *testing.T, config string) *Model {
	t.Helper()
	return freshBy(t, config, func(dev driver.Device, dir string) (*Model, error) { return Init(dev, dir, Options{}, normal()) })
}

func freshBy(t *testing.T, config string, start func(driver.Device, string) (*Model, error)) *Model {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	dev := cpu.New(1)
	m, err := start(dev, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); dev.Close() })
	return m
}

const tinyConfig = `{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50, "initializer_range": 0.3, "pad_token_id": 7`

// TestInit checks the weights of a new model: standard deviations, ones, zeros, the padding
// token's row.
func TestInit(t *testing.T) {
	t.Run("normal", func(t *testing.T) { checkInit(t, fresh(t, tinyConfig+`, "tie_word_embeddings": false}`)) })
	t.Run("uniform, by the device", func(t *testing.T) {
		checkInit(t, freshBy(t, tinyConfig+`, "tie_word_embeddings": false}`, func(dev driver.Device, dir string) (*Model, error) {
			return InitOnDevice(dev, dir, Options{}, 7)
		}))
	})
}

func checkInit(t *testing.T, m *Model) {
	t.Helper()
	for _, p := range m.base() {
		w := p.Data.Host()
		deviation := slicesNorm(w) / math.Sqrt(float64(len(w)))
		switch {
		case len(p.Shape) == 2:
			if math.Abs(deviation/0.3-1) > 0.1 {
				t.Errorf("%s: deviation %g, want 0.3", p.Name, deviation)
			}
		case filepath.Ext(p.Name) == ".bias":
			if deviation != 0 {
				t.Errorf("%s is not 0", p.Name)
			}
		case slices.ContainsFunc(w, func(x float32) bool { return x != 1 }):
			t.Errorf("%s is not 1", p.Name)
		}
	}
	if slicesNorm(m.embed.Data.Host()[7*32:8*32]) != 0 || slicesNorm(m.embed.Data.Host()[8*32:9*32]) == 0 {
		t.Error("the padding token's embedding, and only that, should be 0")
	}
	if slicesNorm(attentionOf(m, 0).q.Weight.Data.Host()) == slicesNorm(attentionOf(m, 1).q.Weight.Data.Host()) {
		t.Error("two layers have the same weights")
	}
}

// TestPadding: the padding token's embedding gets no gradient, as torch's padding_idx.
func TestPadding(t *testing.T) {
	m := fresh(t, tinyConfig+`, "tie_word_embeddings": false}`)
	if err := m.TrainAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Backward(Batch{Tokens: []int32{7, 8, 7}, Targets: []int32{8, 7, 1}}, Objective{}); err != nil {
		t.Fatal(err)
	}
	g := m.embed.Grad.Host()
	if slicesNorm(g[7*32:8*32]) != 0 || slicesNorm(g[8*32:9*32]) == 0 {
		t.Error("the padding token's embedding, and only that, should have no gradient")
	}
}

// TestResizeVocab compares new rows with the mean and the standard deviation of the definition;
// old tokens have the same results as before, and the larger model can be saved and loaded.
func TestResizeVocab(t *testing.T) {
	for _, tied := range []string{"true", "false"} {
		m := fresh(t, tinyConfig+`, "tie_word_embeddings": `+tied+`}`)
		b := Batch{Tokens: []int32{3, 4, 5}, Targets: []int32{4, 5, -1}}
		before, err := m.Hidden(b, 2)
		if err != nil {
			t.Fatal(err)
		}
		old := slices.Clone(before.Host())
		if err := m.ResizeVocab(50, normal()); err != nil || m.Config().Vocab != 50 {
			t.Fatalf("%v, vocabulary %d", err, m.Config().Vocab)
		}
		embeddings := slices.Clone(m.embed.Data.Host())
		if err := m.ResizeVocab(65, normal()); err != nil || m.Config().Vocab != 128 {
			t.Fatalf("%v, vocabulary %d", err, m.Config().Vocab)
		}
		w := m.embed.Data.Host()
		if !slices.Equal(w[:len(embeddings)], embeddings) {
			t.Error("old rows changed")
		}
		var squares float64
		for i := 50 * 32; i < len(w); i++ {
			var mean float64
			for r := range 50 {
				mean += float64(embeddings[r*32+i%32]) / 50
			}
			squares += (float64(w[i]) - mean) * (float64(w[i]) - mean)
		}
		// The deviation of 78·32 draws is within 5 % of 1/sqrt(32).
		if d := math.Sqrt(squares/float64(78*32)) * math.Sqrt(32); math.Abs(d-1) > 0.05 {
			t.Errorf("new rows deviate by %g/sqrt(32) from the mean", d)
		}
		after, err := m.Hidden(b, 2)
		if err != nil || !slices.Equal(after.Host(), old) {
			t.Errorf("old tokens compute something else (%v)", err)
		}
		want, err := m.Losses(Batch{Tokens: []int32{100, 3}, Targets: []int32{127, -1}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := m.SaveFull(dir); err != nil {
			t.Fatal(err)
		}
		if got, _ := open(t, 1, dir).Losses(Batch{Tokens: []int32{100, 3}, Targets: []int32{127, -1}}, 0); !slices.Equal(got, want) {
			t.Error("the larger model gives other losses when loaded")
		}
	}
}

// TestHidden checks the numbering of hidden states, and that their memory holds the input of
// the next layer.
func TestHidden(t *testing.T) {
	m := random(t, 1, shapes()["gemma2"])
	b := ragged(m)
	embeddings, err := m.Hidden(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range embeddings.Host() {
		id, col := int(b.Tokens[i/12]), i%12
		if x != m.embed.Data.Host()[id*12+col]*m.config.EmbedScale {
			t.Fatalf("entry %d of layer 0 is %g", i, x)
		}
	}
	last, err := m.Hidden(b, 2)
	if err != nil {
		t.Fatal(err)
	}
	final := slices.Clone(last.Host())
	if same, err := m.Hidden(b, -1); err != nil || !slices.Equal(same.Host(), final) {
		t.Errorf("layer -1 is not the last (%v)", err)
	}
	middle, err := m.Hidden(b, 1)
	if err != nil || slices.Equal(middle.Host(), final) {
		t.Errorf("layer 1 is the last (%v)", err)
	}
	if first, err := m.Hidden(b, -3); err != nil || first.Len() != len(b.Tokens)*12 {
		t.Errorf("layer -3: %v", err)
	}
	if _, err := m.Hidden(b, 3); err == nil || err.Error() != "hidden states of layer 3: the model has layers -3 to 2" {
		t.Errorf("got %v", err)
	}
}

// TestGateLoads: the router's probabilities sum to 1 in each routed layer.
func TestGateLoads(t *testing.T) {
	m := random(t, 1, shapes()["qwen2_moe"])
	loads, err := m.GateLoads(ragged(m))
	if err != nil || len(loads) != 1 {
		t.Fatalf("%v, %d layers, want the one that is sparse", err, len(loads))
	}
	var sum float64
	for _, l := range loads[0] {
		sum += l
	}
	if len(loads[0]) != 4 || math.Abs(sum-1) > 1e-5 {
		t.Errorf("loads %v", loads[0])
	}
	counts := 0
	experts, err := m.Routings()[0].Loads()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range experts {
		counts += n
	}
	if counts != 2*20 {
		t.Errorf("%d tokens times experts, want 40", counts)
	}
	if loads, err := random(t, 1, small()).GateLoads(ragged(m)); err != nil || loads != nil {
		t.Errorf("a dense model: %v, %v", loads, err)
	}
}

// TestNEFTune checks the noise's size, and that there is noise in training only.
func TestNEFTune(t *testing.T) {
	m := random(t, 1, small())
	b := ragged(m)
	quiet, err := m.Hidden(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(quiet.Host())
	if m.split(&b, Objective{NEFTune: 5})[0].Noise != 0 {
		t.Error("noise without training")
	}
	b.PadLen = 16
	parts := m.split(&b, Objective{NEFTune: 5, Train: true, DropoutSeed: 3})
	magnitude := parts[0].Noise
	if expected := 5 / math.Sqrt(16*12); math.Abs(float64(magnitude)-expected) > 1e-6 {
		t.Errorf("magnitude %g, want %g", magnitude, expected)
	}
	m.tape.Begin(autograd.Mode{Parts: parts})
	largest := 0.0
	for i, x := range m.stack(&b, 0, nil).Data().Host() {
		largest = max(largest, math.Abs(float64(x-want[i])))
	}
	if largest > float64(magnitude)*1.0001 || largest < 0.9*float64(magnitude) {
		t.Errorf("largest noise %g of %g", largest, magnitude)
	}
}

// TestModulesToSave trains embeddings, head and a norm in full beside adapters on a
// tied model: PEFT's names in the file, the same model when it is loaded or merged.
func TestModulesToSave(t *testing.T) {
	base := unpacked(t)
	m := open(t, 2, base)
	adapt(t, m, LoRA{Rank: 2, Alpha: 4, Targets: []string{"q_proj"}, ModulesToSave: []string{"embed_tokens", "lm_head", "layers.1.input_layernorm"}})
	if m.Config().Tied {
		t.Error("the head is still tied")
	}
	b := ragged(m)
	want, err := m.Losses(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := m.SaveAdapter(dir); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.ReadAdapterConfig(dir)
	if err != nil || !slices.Equal(c.ModulesToSave, []string{"embed_tokens", "lm_head", "layers.1.input_layernorm"}) {
		t.Errorf("modules_to_save %v (%v)", c.ModulesToSave, err)
	}
	w := golden(t, dir, "adapter_model.safetensors")
	for _, name := range []string{
		"base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight",
		"base_model.model.model.layers.1.input_layernorm.weight", "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
	} {
		if _, ok := w.Shape(name); !ok {
			t.Errorf("no %s in the adapter", name)
		}
	}
	again := open(t, 2, base)
	if err := again.LoadAdapter(dir); err != nil {
		t.Fatal(err)
	}
	if got, _ := again.Losses(b, 0); !slices.Equal(got, want) {
		t.Error("a saved adapter gives other losses")
	}
	if err := again.Merge(); err != nil {
		t.Fatal(err)
	}
	whole := t.TempDir()
	if err := again.SaveFull(whole); err != nil {
		t.Fatal(err)
	}
	got, err := open(t, 2, whole).Losses(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "losses after merging", got, want, 1e-5)
	if err := m.AddLoRA(LoRA{Rank: 2, Alpha: 4, Targets: []string{"q_proj"}, ModulesToSave: []string{"pooler"}}, rand.Float64); err == nil ||
		err.Error() != `additional target "pooler" matches no module of `+base {
		t.Errorf("got %v", err)
	}
}
