// Package randommodel writes Hugging Face model folders with random weights: the initial model
// of the demo, and the models of the benchmarks.
package randommodel

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
)

// Shape is the part of a llama config.json that determines its size.
type Shape struct {
	Vocab, Hidden, Intermediate  int
	Layers, Heads, KVHeads, Head int
	MaxPositions                 int
	RopeTheta                    float64
	EOS                          int // also used as the padding token
}

// SmolLM2 is the shape of SmolLM2-135M.
var SmolLM2 = Shape{
	Vocab: 49152, Hidden: 576, Intermediate: 1536, Layers: 30, Heads: 9, KVHeads: 3, Head: 64, MaxPositions: 8192, RopeTheta: 100000, EOS: 2,
}

// Write writes config.json and model.safetensors of a tied llama: normal weights with standard
// deviation 0.02, norms 1, determined by the seed.
func Write(dir string, s Shape, seed uint64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	config := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "initializer_range": 0.02,
		"hidden_size": s.Hidden, "intermediate_size": s.Intermediate, "num_hidden_layers": s.Layers,
		"num_attention_heads": s.Heads, "num_key_value_heads": s.KVHeads, "head_dim": s.Head,
		"max_position_embeddings": s.MaxPositions, "rms_norm_eps": 1e-5, "rope_theta": s.RopeTheta, "rope_scaling": nil,
		"tie_word_embeddings": true, "attention_bias": false, "mlp_bias": false, "torch_dtype": "float32", "use_cache": true,
		"vocab_size": s.Vocab, "bos_token_id": nil, "eos_token_id": s.EOS, "pad_token_id": s.EOS,
	}
	raw, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	if err := storage.WriteFile(filepath.Join(dir, "config.json"), append(raw, '\n')); err != nil {
		return err
	}
	return checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), map[string]string{"format": "pt"}, s.tensors(seed))
}

func (s Shape) tensors(seed uint64) []checkpoint.Tensor {
	r := rand.New(rand.NewPCG(seed, 2))
	var out []checkpoint.Tensor
	normal := func(name string, rows, columns int) {
		t := checkpoint.Tensor{Name: name, Shape: []int{rows, columns}, F32: make([]float32, rows*columns)}
		for i := range t.F32 {
			t.F32[i] = float32(0.02 * r.NormFloat64())
		}
		out = append(out, t)
	}
	ones := func(name string) {
		t := checkpoint.Tensor{Name: name, Shape: []int{s.Hidden}, F32: make([]float32, s.Hidden)}
		for i := range t.F32 {
			t.F32[i] = 1
		}
		out = append(out, t)
	}
	normal("model.embed_tokens.weight", s.Vocab, s.Hidden)
	for l := range s.Layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		normal(p+"self_attn.q_proj.weight", s.Heads*s.Head, s.Hidden)
		normal(p+"self_attn.k_proj.weight", s.KVHeads*s.Head, s.Hidden)
		normal(p+"self_attn.v_proj.weight", s.KVHeads*s.Head, s.Hidden)
		normal(p+"self_attn.o_proj.weight", s.Hidden, s.Heads*s.Head)
		normal(p+"mlp.gate_proj.weight", s.Intermediate, s.Hidden)
		normal(p+"mlp.up_proj.weight", s.Intermediate, s.Hidden)
		normal(p+"mlp.down_proj.weight", s.Hidden, s.Intermediate)
		ones(p + "input_layernorm.weight")
		ones(p + "post_attention_layernorm.weight")
	}
	ones("model.norm.weight")
	return out
}
