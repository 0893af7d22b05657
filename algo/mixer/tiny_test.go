package mixer

import (
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/decoder"
)

const testVocab = 40

// quiet drops what a method says.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// modelFolder writes the configuration of a tiny llama, or with experts of a tiny
// mixtral, and random weights.
func modelFolder(t *testing.T, seed uint64, experts int) string {
	t.Helper()
	dir := t.TempDir()
	c := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "hidden_size": 16,
		"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
		"max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000, "tie_word_embeddings": true, "vocab_size": testVocab,
		"initializer_range": 0.3,
	}
	if experts > 0 {
		c["architectures"], c["model_type"] = []string{"MixtralForCausalLM"}, "mixtral"
		c["num_local_experts"], c["num_experts_per_tok"] = experts, 2
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	dev := cpu.New(1)
	r := rand.New(rand.NewPCG(seed, 1))
	m, err := decoder.Init(dev, dir, decoder.Options{}, r.NormFloat64)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.SaveFull(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// loaded is a run with the model of a folder.
func loaded(t *testing.T, dir string, train []data.Example) *algo.Run {
	t.Helper()
	dev := cpu.New(1)
	m, err := decoder.Load(dev, dir, decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return &algo.Run{Device: dev, Model: m, Train: train, Seed: 42, Log: quiet}
}

// rows are random sequences of two domains' tokens: even rows of the lower half of
// the vocabulary, odd rows of the upper.
func rows(n int) ([]data.Example, []algo.Domain) {
	r := rand.New(rand.NewPCG(7, 3))
	domains := []algo.Domain{{Name: "low"}, {Name: "high"}}
	out := make([]data.Example, n)
	for i := range out {
		ids := make([]int32, 6+r.IntN(6))
		for t := range ids {
			ids[t] = int32(i%2*testVocab/2 + r.IntN(testVocab/2))
		}
		out[i] = data.Example{ID: data.ID{Dataset: domains[i%2].Name, Row: i / 2}, InputIDs: ids, Labels: append([]int32(nil), ids...)}
		domains[i%2].Rows = append(domains[i%2].Rows, i)
	}
	return out, domains
}

// micro packs rows of the pool of rows(n).
func micro(train []data.Example, rows ...int) algo.MicroReport {
	m := algo.MicroReport{Micro: batch.Pack(train, rows)}
	for _, r := range rows {
		m.Domain = append(m.Domain, r%2)
	}
	return m
}

// build makes a mixer from its parameters as they stand in components.yaml.
func build(t *testing.T, run *algo.Run, domains []algo.Domain, name, mode string, params ...string) (algo.Mixer, error) {
	t.Helper()
	text := "mixers:\n  it:\n    name: " + name + "\n    mode: " + mode + "\n"
	if len(params) > 0 {
		text += "    params:\n"
	}
	for _, p := range params {
		text += "      " + p + "\n"
	}
	path := filepath.Join(t.TempDir(), "components.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.LoadComponent(path, "mixers", "it")
	if err != nil {
		t.Fatal(err)
	}
	return algo.BuildMixer(run, domains, c)
}

func mustBuild(t *testing.T, run *algo.Run, domains []algo.Domain, name, mode string, params ...string) algo.Mixer {
	t.Helper()
	m, err := build(t, run, domains, name, mode, params...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
