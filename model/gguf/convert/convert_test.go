package convert

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	container "dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/model/checkpoint"
)

// recorded is a tiny model, with the content of a GGUF file of it that llama.cpp reads.
type recorded struct {
	Config  json.RawMessage
	Tensors map[string][]int
	Values  map[string]any
	Written map[string][]any
}

// configOf reads a config.json with some of its keys changed.
func configOf(t *testing.T, text json.RawMessage, changed map[string]any) *checkpoint.ModelConfig {
	t.Helper()
	fields := map[string]any{}
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	maps.Copy(fields, changed)
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.ReadModelConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func readRecorded(t *testing.T) map[string]recorded {
	t.Helper()
	text, err := os.ReadFile("testdata/families.json")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]recorded{}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func (r recorded) convert(c *checkpoint.ModelConfig, kind container.Type) (*Model, error) {
	return New(c, slices.Sorted(maps.Keys(r.Tensors)), func(name string) []int { return r.Tensors[name] }, kind)
}

// Names, shapes, types and values are those of files that llama.cpp loaded and whose logits
// were transformers' to 2e-6 of the largest (gemma's to 2e-3: llama.cpp's gelu is a table of
// float16; tools/golden/gguf_llamacpp.py).
func TestNew(t *testing.T) {
	all := readRecorded(t)
	seen := map[string]bool{}
	for name, r := range all {
		c := configOf(t, r.Config, nil)
		seen[c.ModelType] = true
		m, err := r.convert(c, container.F32)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(m.Tensors) != len(r.Written) {
			t.Errorf("%s has %d tensors, want %d", name, len(m.Tensors), len(r.Written))
		}
		for _, x := range m.Tensors {
			got := fmt.Sprint(append([]any{x.Type}, anys(x.Shape)...))
			if want := fmt.Sprint(r.Written[x.Name]); got != want {
				t.Errorf("%s %s is %s, want %s", name, x.Name, got, want)
			}
		}
		if len(m.Values) != len(r.Values) {
			t.Errorf("%s has %d values, want %d", name, len(m.Values), len(r.Values))
		}
		for _, v := range m.Values {
			if want, got := r.Values[v.Key], v.Value; !same(got, want) {
				t.Errorf("%s %s is %v, want %v", name, v.Key, got, want)
			}
		}
	}
	for model := range families {
		if !seen[model] {
			t.Errorf("%s is not recorded", model)
		}
	}
}

func anys(shape []int) (out []any) {
	for _, d := range shape {
		out = append(out, d)
	}
	return out
}

// same compares a value with a recorded one, which is a float64 where it is a number.
func same(got, want any) bool {
	switch x := got.(type) {
	case uint32:
		return float64(x) == want
	case float32:
		w, ok := want.(float64)
		return ok && math.Abs(float64(x)-w) <= 1e-7*math.Abs(w)
	}
	return got == want
}

// Models that llama.cpp would compute differently are refused, naming the reason.
func TestRefuses(t *testing.T) {
	all := readRecorded(t)
	for want, c := range map[string]struct {
		family  string
		changed map[string]any
	}{
		`it is not known how llama.cpp stores a "olmo3"`:   {"olmo2", map[string]any{"model_type": "olmo3"}},
		`rope_scaling of the type "dynamic"`:               {"llama", map[string]any{"rope_scaling": map[string]any{"rope_type": "dynamic", "factor": 2.0}}},
		`rope_scaling of the type "llama3"`:                {"qwen3", map[string]any{"rope_scaling": map[string]any{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}},
		"rope_scaling with mscale":                         {"llama-yarn-rope", map[string]any{"rope_scaling": map[string]any{"rope_type": "yarn", "factor": 4.0, "mscale": 0.7}}},
		"query_pre_attn_scalar 48":                         {"gemma2", map[string]any{"query_pre_attn_scalar": 48}},
		"windows in other layers":                          {"gemma3", map[string]any{"sliding_window_pattern": 3}},
		"layers without experts among":                     {"qwen3_moe", map[string]any{"decoder_sparse_step": 2}},
		"norm_topk_prob: true":                             {"qwen2_moe", map[string]any{"norm_topk_prob": true}},
		`"model.layers.0.self_attn.k_proj.bias" has no`:    {"qwen2", map[string]any{"model_type": "qwen3"}},
		"layers without positions other than every fourth": {"smollm3", map[string]any{"no_rope_layer_interval": 2, "no_rope_layers": nil}},
		"this model has a separate head":                   {"gemma", nil},
	} {
		r := all[c.family]
		if c.family == "gemma" {
			r.Tensors = maps.Clone(r.Tensors)
			r.Tensors["lm_head.weight"] = r.Tensors[embeddings]
		}
		_, err := r.convert(configOf(t, r.Config, c.changed), container.F32)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "export a Hugging Face folder") {
			t.Errorf("%s: %v, want %q", c.family, err, want)
		}
	}
}

// Q8_0 requires rows of whole blocks; others are F16, as in llama.cpp's script. Norms and
// routers stay float32.
func TestTypes(t *testing.T) {
	all := readRecorded(t)
	r := all["qwen3_moe"]
	m, err := r.convert(configOf(t, r.Config, nil), container.Q8_0)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range m.Tensors {
		want := container.Q8_0
		switch {
		case strings.Contains(x.Name, "norm"), strings.Contains(x.Name, "ffn_gate_inp"):
			want = container.F32
		case x.Shape[len(x.Shape)-1]%32 != 0:
			want = container.F16
		}
		if x.Type != want {
			t.Errorf("%s %v is %s, want %s", x.Name, x.Shape, x.Type, want)
		}
	}
}

// Gemma's norms are stored with 1 added; a bias of q is interleaved like its weight.
func TestArrange(t *testing.T) {
	all := readRecorded(t)
	m, err := all["gemma"].convert(configOf(t, all["gemma"].Config, nil), container.F32)
	if err != nil {
		t.Fatal(err)
	}
	x := []float32{0.5, -1}
	at := slices.IndexFunc(m.Tensors, func(t Tensor) bool { return t.Name == "output_norm.weight" })
	if m.Tensors[at].Arrange(x); x[0] != 1.5 || x[1] != 0 {
		t.Error(x)
	}
	q := Tensor{Shape: []int{4}, heads: 1}
	y := []float32{1, 2, 3, 4}
	if q.Arrange(y); !slices.Equal(y, []float32{1, 3, 2, 4}) {
		t.Error(y)
	}
}
