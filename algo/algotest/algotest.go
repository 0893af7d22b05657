// Package algotest is shared by the tests of methods: a model that takes no time, and
// components as in components.yaml.
package algotest

import (
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/decoder"
)

// Vocab is the vocabulary of Model.
const Vocab = 40

// Quiet discards the log of a method.
var Quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// Model writes the folder of a two-layer llama of width 16 with random float32 weights. keys
// override its config.json.
func Model(t *testing.T, seed uint64, keys map[string]any) (dir string) {
	t.Helper()
	dir = t.TempDir()
	c := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "hidden_size": 16,
		"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
		"max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000, "tie_word_embeddings": true, "vocab_size": Vocab,
		"initializer_range": 0.3,
	}
	maps.Copy(c, keys)
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "config.json"), raw)
	dev := cpu.New(1)
	defer dev.Close()
	m, err := decoder.Init(dev, dir, decoder.Options{}, rand.New(rand.NewPCG(seed, 1)).NormFloat64)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.SaveFull(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Experts are the keys of a mixtral with that many experts, two of them per token.
func Experts(n int) map[string]any {
	return map[string]any{"architectures": []string{"MixtralForCausalLM"}, "model_type": "mixtral", "num_local_experts": n, "num_experts_per_tok": 2}
}

// Component is an entry of a section of components.yaml, for example "selectors", with a
// method's name, mode and parameters, each a line of YAML.
func Component(t *testing.T, part, name, mode string, params ...string) *config.Component {
	t.Helper()
	text := part + ":\n  it:\n    name: " + name + "\n    mode: " + mode + "\n"
	if len(params) > 0 {
		text += "    params:\n"
	}
	for _, p := range params {
		text += "      " + p + "\n"
	}
	path := filepath.Join(t.TempDir(), "components.yaml")
	write(t, path, []byte(text))
	c, err := config.LoadComponent(path, part, "it")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Near fails unless two vectors agree to within tol.
func Near(t *testing.T, what string, got, want []float64, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !(math.Abs(got[i]-want[i]) <= tol) {
			t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
	}
}

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}
