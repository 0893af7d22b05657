package selector

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
)

const (
	testVocab  = 40
	testHidden = 16
)

// modelFolder writes a random llama of two layers.
func modelFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	c := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "hidden_size": testHidden,
		"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
		"max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000, "tie_word_embeddings": true, "vocab_size": testVocab,
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var tensors []checkpoint.Tensor
	add := func(name string, scale, mean float64, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		w := checkpoint.Tensor{Name: name, Shape: shape, F32: make([]float32, n)}
		for i := range w.F32 {
			w.F32[i] = float32(mean + scale*r.NormFloat64())
		}
		tensors = append(tensors, w)
	}
	add("model.embed_tokens.weight", 0.5, 0, testVocab, testHidden)
	for l := range 2 {
		p := fmt.Sprintf("model.layers.%d.", l)
		add(p+"self_attn.q_proj.weight", 0.2, 0, 16, testHidden)
		add(p+"self_attn.k_proj.weight", 0.2, 0, 8, testHidden)
		add(p+"self_attn.v_proj.weight", 0.2, 0, 8, testHidden)
		add(p+"self_attn.o_proj.weight", 0.2, 0, testHidden, 16)
		add(p+"mlp.gate_proj.weight", 0.2, 0, 24, testHidden)
		add(p+"mlp.up_proj.weight", 0.2, 0, 24, testHidden)
		add(p+"mlp.down_proj.weight", 0.2, 0, testHidden, 24)
		add(p+"input_layernorm.weight", 0, 1, testHidden)
		add(p+"post_attention_layernorm.weight", 0, 1, testHidden)
	}
	add("model.norm.weight", 0, 1, testHidden)
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), nil, tensors); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rows are random sequences in families: a family repeats two tokens of its own, so
// that its rows' gradients resemble each other. Row i belongs to family i%families.
func rows(n, families int, seed uint64) []data.Example {
	r := rand.New(rand.NewPCG(seed, 3))
	out := make([]data.Example, n)
	for i := range out {
		f := int32(i % families)
		length := 8 + r.IntN(6)
		ids := make([]int32, length)
		for t := range ids {
			ids[t] = 4*f + int32(t%2)
			if r.IntN(4) == 0 {
				ids[t] = int32(r.IntN(testVocab))
			}
		}
		out[i] = data.Example{ID: data.ID{Dataset: "pool", Row: i}, InputIDs: ids, Labels: append([]int32(nil), ids...)}
	}
	return out
}

// quiet drops what a method says.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// bare is a run without a model, of a pool of n rows.
func bare(n int) *algo.Run {
	return &algo.Run{Train: make([]data.Example, n), Seed: 42, Updates: 4, Log: quiet}
}

// whole is a run with a model, adapters and moments that are not zero.
func whole(t *testing.T, pool, eval []data.Example) *algo.Run {
	t.Helper()
	dev := cpu.New(2)
	m, err := decoder.Load(dev, modelFolder(t), decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(4, 5))
	if err := m.AddLoRA(decoder.LoRA{Rank: 2, Alpha: 4, Targets: []string{"all"}}, r.Float64); err != nil {
		t.Fatal(err)
	}
	params := m.Trainable()
	for _, p := range params {
		for i, x := range p.Data.Host() {
			p.Data.Host()[i] = x + float32(0.1*r.NormFloat64())
		}
	}
	o, err := optim.NewAdamW(dev, optim.Groups(params, 0), 0.9, 0.999, 1e-8)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for _, p := range params {
			for i := range p.Grad.Host() {
				p.Grad.Host()[i] = float32(0.01 * r.NormFloat64())
			}
		}
		o.Step(1e-3, 1)
	}
	for _, p := range params {
		clear(p.Grad.Host())
	}
	t.Cleanup(func() { o.Close(); m.Close(); dev.Close() })
	return &algo.Run{Device: dev, Model: m, Optimizer: o, Train: pool, Eval: eval, Seed: 42, Updates: 4, Log: quiet}
}

// build makes a selector from its parameters as they stand in components.yaml.
func build(t *testing.T, run *algo.Run, name, mode string, params ...string) (algo.Selector, error) {
	t.Helper()
	text := "selectors:\n  it:\n    name: " + name + "\n    mode: " + mode + "\n    params:\n"
	for _, p := range params {
		text += "      " + p + "\n"
	}
	if len(params) == 0 {
		text = strings.TrimSuffix(text, "    params:\n")
	}
	path := filepath.Join(t.TempDir(), "components.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.LoadComponent(path, "selectors", "it")
	if err != nil {
		t.Fatal(err)
	}
	return algo.BuildSelector(run, c)
}

func mustBuild(t *testing.T, run *algo.Run, name, mode string, params ...string) algo.Selector {
	t.Helper()
	s, err := build(t, run, name, mode, params...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func writeFile(path string, raw []byte) error { return os.WriteFile(path, raw, 0o644) }
