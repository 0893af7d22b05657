package gguf

import (
	"fmt"
	"math"

	container "dataflex.dev/dataflex/data/gguf"
)

// values reads a file's values; the first error is sticky.
type values struct {
	file *container.File
	err  error
}

func (v *values) fail(format string, args ...any) {
	if v.err == nil {
		v.err = fmt.Errorf("%s: "+format, append([]any{v.file.Path}, args...)...)
	}
}

// optional is the value of a key, or fallback where it is absent.
func optional[T any](v *values, key string, fallback T) T {
	x, ok, err := container.Get[T](v.file, key)
	if err != nil && v.err == nil {
		v.err = err
	}
	if !ok {
		return fallback
	}
	return x
}

// required is the value of a key that must be present.
func required[T any](v *values, key string) (x T) {
	x, ok, err := container.Get[T](v.file, key)
	if err == nil && !ok {
		err = fmt.Errorf("%s: it has no %s: it is not a model, or a damaged one", v.file.Path, key)
	}
	if v.err == nil {
		v.err = err
	}
	return x
}

// size is a required size: at least 1, and no more than any model has.
func (v *values) size(key string) int {
	n := required[int](v, key)
	if n < 1 || n > 1<<31 {
		v.fail("%s is %d", key, n)
		return 1
	}
	return n
}

// readConfig reconstructs the config.json that convert_hf_to_gguf.py read.
func (m *Model) readConfig(v *values) {
	key := func(name string) string { return m.arch + "." + name }
	embeddings := m.tensor("token_embd.weight")
	if embeddings == nil || len(embeddings.Shape) != 2 {
		v.fail("it has no tensor token_embd.weight [vocabulary, hidden]: it is not a language model")
		return
	}
	heads := v.size(key("attention.head_count"))
	kvHeads := heads
	if optional[any](v, key("attention.head_count_kv"), nil) != nil {
		kvHeads = v.size(key("attention.head_count_kv"))
	}
	hidden := v.size(key("embedding_length"))
	headDim := optional(v, key("attention.key_length"), optional(v, key("rope.dimension_count"), hidden/heads))
	if n := optional(v, key("rope.dimension_count"), headDim); n != headDim {
		v.fail("%s is %d and heads have %d numbers: partially rotated heads are not supported", key("rope.dimension_count"), n, headDim)
	}
	m.Config = map[string]any{
		"architectures": []any{architectures[m.arch]}, "model_type": m.arch, "hidden_act": "silu",
		"vocab_size": embeddings.Shape[0], "hidden_size": hidden, "intermediate_size": v.size(key("feed_forward_length")),
		"num_hidden_layers": v.size(key("block_count")), "num_attention_heads": heads, "num_key_value_heads": kvHeads, "head_dim": headDim,
		"max_position_embeddings": v.size(key("context_length")), "rms_norm_eps": required[float64](v, key("attention.layer_norm_rms_epsilon")),
		"rope_theta": optional(v, key("rope.freq_base"), 10000.0), "tie_word_embeddings": m.tensor("output.weight") == nil,
		"initializer_range": 0.02, "torch_dtype": m.dtype(),
	}
	if m.arch != "qwen2" {
		m.Config["attention_bias"] = m.tensor("blk.0.attn_q.bias") != nil
		m.Config["mlp_bias"] = m.tensor("blk.0.ffn_up.bias") != nil
	}
	if m.arch != "llama" {
		m.Config["use_sliding_window"] = false
	}
	for name, token := range map[string]string{"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"} {
		if id := optional(v, "tokenizer.ggml."+token+"_token_id", -1); id >= 0 {
			m.Config[name] = id
		}
	}
	m.readRope(v)
}

// tensor is a tensor by ggml's name, or nil.
func (m *Model) tensor(name string) *container.Tensor {
	for i := range m.file.Tensors {
		if t := &m.file.Tensors[i]; t.Name == name {
			return t
		}
	}
	return nil
}

// dtype is torch's name of the matrices' type: quantised matrices become float32.
func (m *Model) dtype() string {
	if t := m.tensor("blk.0.ffn_down.weight"); t != nil {
		switch t.Type {
		case container.F16:
			return "float16"
		case container.BF16:
			return "bfloat16"
		}
	}
	return "float32"
}

// readRope reads the rope scaling.
func (m *Model) readRope(v *values) {
	prefix := m.arch + ".rope.scaling."
	kind := optional(v, prefix+"type", "none")
	factor, original := optional(v, prefix+"factor", 0.0), optional(v, prefix+"original_context_length", 0)
	switch {
	case m.tensor(ropeFactors) != nil && v.err == nil:
		m.llama3(v)
	case kind == "none":
	case (kind == "linear" || kind == "yarn") && factor > 0:
		scaling := map[string]any{"rope_type": kind, "factor": factor}
		if original > 0 {
			scaling["original_max_position_embeddings"] = original
		}
		m.Config["rope_scaling"] = scaling
	default:
		v.fail("%stype is %q with factor %v; none, linear and yarn are read", prefix, kind, factor)
	}
}

// llama3 finds the rope_scaling whose frequency divisors are rope_freqs.weight: those of the
// Llama 3 models differ only in factor.
func (m *Model) llama3(v *values) {
	const low, high, original = 1.0, 4.0, 8192.0
	t, theta, dim := m.tensor(ropeFactors), m.Config["rope_theta"].(float64), m.Config["head_dim"].(int)
	if t.Type != container.F32 || len(t.Shape) != 1 || t.Shape[0] != dim/2 {
		v.fail("tensor %q is %s %v, want F32 [%d]", t.Name, t.Type, t.Shape, dim/2)
		return
	}
	stored := make([]float32, dim/2)
	Dequantize(t.Type, m.file.Data[t.Begin:t.End], stored)
	factor := float64(stored[len(stored)-1])
	for i, got := range stored {
		length := 2 * math.Pi * math.Pow(theta, 2*float64(i)/float64(dim))
		want := 1.0
		switch {
		case length > original/low:
			want = factor
		case length >= original/high:
			smooth := (original/length - low) / (high - low)
			want = 1 / ((1-smooth)/factor + smooth)
		}
		if !(math.Abs(float64(got)-want) <= 1e-4*want) {
			v.fail("tensor %q has other factors than those of Llama 3 (number %d is %v, not %v): take the Hugging Face folder of the model", t.Name, i, got, want)
			return
		}
	}
	m.Config["rope_scaling"] = map[string]any{
		"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high, "original_max_position_embeddings": int(original),
	}
}
