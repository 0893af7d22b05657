package feature

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
)

const (
	vocab  = 30
	hidden = 8
)

// model is a random llama of two layers with adapters.
func model(t *testing.T) (*cpu.Device, *decoder.Model) {
	t.Helper()
	dev := cpu.New(2)
	t.Cleanup(func() { dev.Close() })
	return dev, modelOn(t, dev)
}

// modelOn is the same model on a device that is closed by the caller.
func modelOn(t *testing.T, dev driver.Device) *decoder.Model {
	t.Helper()
	dir := t.TempDir()
	raw, err := json.Marshal(map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "hidden_size": hidden,
		"intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
		"max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000, "tie_word_embeddings": true, "vocab_size": vocab,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var tensors []checkpoint.Tensor
	add := func(name string, scale, mean float64, shape ...int) {
		w := checkpoint.Tensor{Name: name, Shape: shape, F32: make([]float32, shape[0]*max(1, shape[len(shape)-1]*(len(shape)-1)))}
		for i := range w.F32 {
			w.F32[i] = float32(mean + scale*r.NormFloat64())
		}
		tensors = append(tensors, w)
	}
	add("model.embed_tokens.weight", 0.5, 0, vocab, hidden)
	for l := range 2 {
		p := fmt.Sprintf("model.layers.%d.", l)
		shapes := map[string][]int{
			"self_attn.q_proj": {8, hidden}, "self_attn.k_proj": {4, hidden}, "self_attn.v_proj": {4, hidden}, "self_attn.o_proj": {hidden, 8},
			"mlp.gate_proj": {12, hidden}, "mlp.up_proj": {12, hidden}, "mlp.down_proj": {hidden, 12},
		}
		for _, name := range slices.Sorted(maps.Keys(shapes)) { // sorted, so that the model is always the same
			add(p+name+".weight", 0.3, 0, shapes[name]...)
		}
		add(p+"input_layernorm.weight", 0, 1, hidden)
		add(p+"post_attention_layernorm.weight", 0, 1, hidden)
	}
	add("model.norm.weight", 0, 1, hidden)
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), nil, tensors); err != nil {
		t.Fatal(err)
	}
	m, err := decoder.Load(dev, dir, decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.AddLoRA(decoder.LoRA{Rank: 2, Alpha: 4, Targets: []string{"all"}}, r.Float64); err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Trainable() {
		w, err := driver.Read(dev, p.Data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range w {
			w[i] += float32(0.1 * r.NormFloat64())
		}
		if err := driver.Upload(dev, p.Data, w); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(m.Close)
	return m
}

// examples are random rows of 3 to 14 tokens, the first two without labels.
func examples(n int) []data.Example {
	r := rand.New(rand.NewPCG(5, 6))
	out := make([]data.Example, n)
	for i := range out {
		ids := make([]int32, 3+r.IntN(12))
		for t := range ids {
			ids[t] = int32(r.IntN(vocab))
		}
		labels := append([]int32(nil), ids...)
		labels[0], labels[1] = data.IgnoreIndex, data.IgnoreIndex
		out[i] = data.Example{ID: data.ID{Dataset: "rows", Row: i}, InputIDs: ids, Labels: labels}
	}
	return out
}

func pass(dev driver.Device, m *decoder.Model, tokens int) Pass {
	return Pass{Device: dev, Model: m, Tokens: tokens, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func ctx() context.Context { return context.Background() }
