package decoder

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/model/checkpoint"
)

// TestParameterOrder checks names, shapes and order of adapters against PEFT's.
func TestParameterOrder(t *testing.T) {
	for _, name := range []string{"tiny-llama", "tiny-qwen2"} {
		golden(t, shared, "persample", name, "persample.safetensors")
		text, err := os.ReadFile(filepath.Join(shared, "persample", name, "persample.json"))
		if err != nil {
			t.Fatal(err)
		}
		var recorded struct {
			Order [][2]any `json:"parameter_order"`
		}
		if err := json.Unmarshal(text, &recorded); err != nil {
			t.Fatal(err)
		}
		m := open(t, 1, filepath.Join(shared, "models", name))
		rank := int(recorded.Order[0][1].([]any)[0].(float64))
		adapt(t, m, LoRA{Rank: rank, Alpha: 1, Targets: []string{"all"}})
		params := m.Trainable()
		if len(params) != len(recorded.Order) {
			t.Fatalf("%s: %d parameters, want %d", name, len(params), len(recorded.Order))
		}
		offset := 0
		for i, want := range recorded.Order {
			p := params[i]
			shape := want[1].([]any)
			if p.Name != strings.Replace(want[0].(string), ".default", "", 1) ||
				float64(p.Shape[0]) != shape[0] || float64(p.Shape[1]) != shape[1] {
				t.Errorf("%s: parameter %d is %s %v, want %v", name, i, p.Name, p.Shape, want)
			}
			if pair := m.PairOffsets()[i/2]; i%2 == 0 && (pair.Offset != offset || prefix+pair.Name+".lora_A.weight" != p.Name) {
				t.Errorf("%s: pair %d is %+v, want offset %d", name, i/2, pair, offset)
			}
			offset += p.Size()
		}
	}
}

// TestAddLoRA checks the initial values: B is zero, A uniform in ±1/sqrt(in), so that the
// model's results do not change; and the scale from alpha and rank.
func TestAddLoRA(t *testing.T) {
	c := small()
	c.Hidden = 48
	m := random(t, 1, c)
	b := ragged(m)
	before, _ := m.Losses(b, 0)
	if err := m.AddLoRA(LoRA{Rank: 16, Alpha: 8, RSLoRA: true, Targets: []string{"all"}}, rand.New(rand.NewPCG(1, 1)).Float64); err != nil {
		t.Fatal(err)
	}
	if after, _ := m.Losses(b, 0); !slices.Equal(before, after) {
		t.Error("new adapters change the losses")
	}
	if s := attentionOf(m, 0).q.LoRA.Scale; s != 2 {
		t.Errorf("rslora scale of alpha 8, rank 16 is %g, want 2", s)
	}
	a := attentionOf(m, 0).q.LoRA.A.Data.Host()
	bound, sum := 1/math.Sqrt(48), 0.0
	for _, x := range a {
		if math.Abs(float64(x)) > bound {
			t.Fatalf("entry %g outside ±%g", x, bound)
		}
		sum += float64(x) * float64(x)
	}
	// The variance of U(-b, b) is b²/3; its estimate from 768 entries is within 10 %.
	if v := sum / float64(len(a)) / (bound * bound / 3); math.Abs(v-1) > 0.1 {
		t.Errorf("variance is %g of a uniform distribution's", v)
	}
	if n := len(m.Trainable()); n != 2*7*2 {
		t.Errorf("%d parameters train, want A and B of 14 linears", n)
	}
}

// TestTargets checks which modules targets name, and the error if they name none.
func TestTargets(t *testing.T) {
	m := random(t, 1, small())
	for _, c := range []struct {
		targets []string
		want    int
		err     string
	}{
		{[]string{"all"}, 14, ""},
		{[]string{"q_proj", "v_proj"}, 4, ""},
		{[]string{"mlp.down_proj"}, 2, ""},
		{[]string{"model.layers.1.self_attn.k_proj", "k_proj"}, 2, ""},
		{[]string{"q_proj", "c_attn"}, 2, ""}, // names of other families are accepted if one of the model's own is there, as in PEFT
		{[]string{"proj"}, 0, `lora target "proj" matches no linear module of random; there are: all, q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, embed_tokens, lm_head`},
		{[]string{"q_proj", "lm_head"}, 2, ""},
		{[]string{"q_proj", "embed_tokens"}, 2, ""},
		{[]string{"input_layernorm", "q_proj"}, 0, "additional_target trains it in full"},
		{nil, 0, "no lora targets"},
	} {
		err := m.AddLoRA(LoRA{Rank: 2, Alpha: 4, Targets: c.targets}, rand.Float64)
		if err != nil || c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v: got %v, want %s", c.targets, err, c.err)
			}
			continue
		}
		if n := len(m.PairOffsets()); n != c.want {
			t.Errorf("%v: %d adapters, want %d", c.targets, n, c.want)
		}
	}
	if n := m.Notes(); len(n) != 1 || !strings.Contains(n[0], `lora target "c_attn" matches no linear module of random and is left out`) {
		t.Errorf("notes %q", n)
	}
	for _, l := range []LoRA{{Rank: 0, Targets: []string{"all"}}, {Rank: 2, Dropout: 1, Targets: []string{"all"}}} {
		if m.AddLoRA(l, rand.Float64) == nil {
			t.Errorf("%+v was accepted", l)
		}
	}
}

// TestEndsOfPaths: any end of the path of a module, or of a module that contains it, is a name
// for it, as in PEFT (peft 0.18, _set_trainable).
func TestEndsOfPaths(t *testing.T) {
	c := small()
	c.MLPBias = false
	m := random(t, 1, c)
	for name, want := range map[string]string{
		"norm":      "model.layers.0.input_layernorm model.layers.0.post_attention_layernorm model.layers.1.input_layernorm model.layers.1.post_attention_layernorm model.norm",
		"layernorm": "model.layers.0.input_layernorm model.layers.0.post_attention_layernorm model.layers.1.input_layernorm model.layers.1.post_attention_layernorm",
		".norm":     "model.norm",
		"1.mlp":     "model.layers.1.mlp.gate_proj model.layers.1.mlp.up_proj model.layers.1.mlp.down_proj",
	} {
		if err := m.AddLoRA(LoRA{Rank: 2, Alpha: 4, Targets: []string{"q_proj"}, ModulesToSave: []string{name}}, rand.Float64); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range m.Trainable() {
			if !strings.Contains(p.Name, "lora") && !strings.HasSuffix(p.Name, ".bias") {
				got = append(got, strings.TrimSuffix(p.Name, ".weight"))
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s", name, s)
		}
	}
}

// TestAdapterRoundTrip saves an adapter and loads it into a new model: same files, same losses;
// merged, the same losses within rounding.
func TestAdapterRoundTrip(t *testing.T) {
	base := unpacked(t)
	m := open(t, 2, base)
	adapt(t, m, LoRA{Rank: 4, Alpha: 12, RSLoRA: true, Dropout: 0.05, Targets: []string{"q_proj", "up_proj"}})
	b := ragged(m)
	want, err := m.Losses(b, 0)
	if err != nil {
		t.Fatal(err)
	}
	first, second := t.TempDir(), t.TempDir()
	if err := m.SaveAdapter(first); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.ReadAdapterConfig(first)
	if err != nil {
		t.Fatal(err)
	}
	if c.BaseModel != base || c.Rank != 4 || c.Alpha != 12 || !c.RSLoRA || c.Dropout != 0.05 || !slices.Equal(c.Targets, []string{"q_proj", "up_proj"}) {
		t.Errorf("adapter_config.json says %+v", c)
	}
	again := open(t, 2, base)
	if err := again.LoadAdapter(first); err != nil {
		t.Fatal(err)
	}
	if got, _ := again.Losses(b, 0); !slices.Equal(got, want) {
		t.Error("a saved adapter gives other losses")
	}
	if err := again.SaveAdapter(second); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"adapter_config.json", "adapter_model.safetensors"} {
		x, _ := os.ReadFile(filepath.Join(first, name))
		y, _ := os.ReadFile(filepath.Join(second, name))
		if len(x) == 0 || !slices.Equal(x, y) {
			t.Errorf("%s changes when it is loaded and saved", name)
		}
	}
	if err := again.Merge(); err != nil {
		t.Fatal(err)
	}
	if len(again.Trainable()) != 0 {
		t.Error("a merged adapter still trains")
	}
	got, _ := again.Losses(b, 0)
	within(t, "losses after merging", got, want, 1e-5)
}

// TestSaveFull saves a tied model whole and in shards, and loads both.
func TestSaveFull(t *testing.T) {
	m := open(t, 1, unpacked(t))
	b := ragged(m)
	want, _ := m.Losses(b, 0)
	whole := t.TempDir()
	if err := m.SaveFull(whole); err != nil {
		t.Fatal(err)
	}
	if got, _ := open(t, 1, whole).Losses(b, 0); !slices.Equal(got, want) {
		t.Error("a saved model gives other losses")
	}
	w := golden(t, whole, "model.safetensors")
	if _, ok := w.Shape("lm_head.weight"); ok {
		t.Error("the tied head is stored")
	}
	sharded := t.TempDir()
	if err := m.saveConfig(sharded); err != nil {
		t.Fatal(err)
	}
	var tensors []checkpoint.Tensor
	for _, p := range m.base() {
		s, err := m.stored(p)
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, s)
	}
	if err := writeShards(sharded, tensors, 60_000); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(sharded, "model-*.safetensors")); len(files) != 4 {
		t.Errorf("%d shards, want 4: %v", len(files), files)
	}
	if got, _ := open(t, 1, sharded).Losses(b, 0); !slices.Equal(got, want) {
		t.Error("a model in shards gives other losses")
	}
}

// TestMisfits checks the error for weights that do not belong to the configuration.
func TestMisfits(t *testing.T) {
	m := open(t, 1, unpacked(t))
	dir := t.TempDir()
	if err := m.saveConfig(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "model.safetensors")
	write := func(change func([]checkpoint.Tensor) []checkpoint.Tensor) string {
		var tensors []checkpoint.Tensor
		for _, p := range m.base() {
			s, err := m.stored(p)
			if err != nil {
				t.Fatal(err)
			}
			tensors = append(tensors, s)
		}
		if err := checkpoint.WriteSafetensors(file, nil, change(tensors)); err != nil {
			t.Fatal(err)
		}
		_, err := Load(m.dev, dir, Options{})
		if err == nil {
			return ""
		}
		return err.Error()
	}
	for _, c := range []struct {
		want   string
		change func([]checkpoint.Tensor) []checkpoint.Tensor
	}{
		{"", func(s []checkpoint.Tensor) []checkpoint.Tensor {
			return append(s, checkpoint.Tensor{Name: "lm_head.weight", Shape: []int{1}, F32: make([]float32, 1)})
		}},
		{dir + `: tensor "model.norm.weight" [48] is missing`, func(s []checkpoint.Tensor) []checkpoint.Tensor { return s[:len(s)-1] }},
		{file + `: tensor "model.norm.weight" has shape [24 2], the configuration asks for [48]`, func(s []checkpoint.Tensor) []checkpoint.Tensor {
			s[len(s)-1].Shape = []int{24, 2}
			return s
		}},
		{file + `: tensor "model.extra" [1] has no place in the model`, func(s []checkpoint.Tensor) []checkpoint.Tensor {
			return append(s, checkpoint.Tensor{Name: "model.extra", Shape: []int{1}, F32: make([]float32, 1)})
		}},
	} {
		if got := write(c.change); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	many := write(func([]checkpoint.Tensor) []checkpoint.Tensor { return nil })
	if !strings.Contains(many, "model.embed_tokens.weight") || !strings.Contains(many, "and 23 more tensors do not fit") {
		t.Errorf("got %q", many)
	}
}
