// Package gguf reads the models of GGUF files in the form of Hugging Face's folders: a
// config.json, and tensors under transformers' names with float32 numbers.
package gguf

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	container "dataflex.dev/dataflex/data/gguf"
)

// Model is an opened GGUF file.
type Model struct {
	Config  map[string]any // the content of config.json
	Tensors []Tensor

	file *container.File
	arch string
}

// Tensor is one of a model's tensors.
type Tensor struct {
	Name  string // in transformers' naming
	Type  container.Type
	Shape []int
	Data  []byte // of the mapped file
	// Heads is not 0 where rows are in llama.cpp's order: the rows of each of that many heads
	// are stored as adjacent pairs (i, i+half). See InOrder.
	Heads int
}

// Open reads the header of a GGUF file of a llama, qwen2 or qwen3 model.
func Open(path string) (*Model, error) {
	f, err := container.Open(path)
	if err != nil {
		return nil, err
	}
	m := &Model{file: f}
	if err := m.read(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

// Close unmaps the file.
func (m *Model) Close() error { return m.file.Close() }

// architectures are the supported architectures, with transformers' names.
var architectures = map[string]string{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}

func (m *Model) read() error {
	r := &values{file: m.file}
	m.arch = required[string](r, "general.architecture")
	if r.err != nil {
		return r.err
	}
	if _, ok := architectures[m.arch]; !ok {
		return fmt.Errorf("%s: general.architecture is %q; GGUF files of llama, qwen2 and qwen3 are read: take the Hugging Face folder of the model", m.file.Path, m.arch)
	}
	if n := optional(r, "split.count", 1); n > 1 {
		return fmt.Errorf("%s is one of %d parts: join them with `llama-gguf-split --merge`", m.file.Path, n)
	}
	if n := optional(r, m.arch+".expert_count", 0); n > 0 {
		return fmt.Errorf("%s has %d experts, which are not read from GGUF files: take the Hugging Face folder of the model", m.file.Path, n)
	}
	m.readConfig(r)
	if r.err != nil {
		return r.err
	}
	return m.readTensors()
}

// layerNames are the parts of a layer's tensors.
var layerNames = map[string]string{
	"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
	"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
	"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
	"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}

// hfName is transformers' name of a tensor; ok is false where there is none.
func hfName(name string) (hf string, ok bool) {
	switch name {
	case "token_embd.weight":
		return "model.embed_tokens.weight", true
	case "output_norm.weight":
		return "model.norm.weight", true
	case "output.weight":
		return "lm_head.weight", true
	}
	parts := strings.Split(name, ".")
	if len(parts) != 4 || parts[0] != "blk" || parts[3] != "weight" && parts[3] != "bias" {
		return "", false
	}
	layer, ok := layerNames[parts[2]]
	return "model.layers." + parts[1] + "." + layer + "." + parts[3], ok
}

// ropeFactors is the tensor of Llama 3's frequency divisors.
const ropeFactors = "rope_freqs.weight"

func (m *Model) readTensors() error {
	for _, t := range m.file.Tensors {
		if t.Name == ropeFactors {
			continue // it is part of the configuration
		}
		name, ok := hfName(t.Name)
		if !ok {
			return fmt.Errorf("%s: tensor %q has no place in a %s: take the Hugging Face folder of the model", m.file.Path, t.Name, m.arch)
		}
		out := Tensor{Name: name, Type: t.Type, Shape: t.Shape, Data: m.file.Data[t.Begin:t.End]}
		if m.arch == "llama" {
			switch {
			case strings.Contains(name, ".q_proj."):
				out.Heads = m.Config["num_attention_heads"].(int)
			case strings.Contains(name, ".k_proj."):
				out.Heads = m.Config["num_key_value_heads"].(int)
			}
		}
		if out.Heads > 0 && t.Shape[0]%(2*out.Heads) != 0 {
			return fmt.Errorf("%s: tensor %q has %d rows, which are not those of %d heads", m.file.Path, t.Name, t.Shape[0], out.Heads)
		}
		m.Tensors = append(m.Tensors, out)
	}
	return nil
}

// InOrder restores transformers' order in the rows of x [rows, cols], which llama.cpp's
// convert_hf_to_gguf.py permutes for q and k because of its rotary embedding: of every head
// first the first numbers of all pairs, then the second.
func InOrder[T any](x []T, rows, heads int) {
	cols, half := len(x)/rows, rows/heads/2
	stored := make([]T, 2*half*cols)
	for head := range slices.Chunk(x, 2*half*cols) {
		copy(stored, head)
		for i := range half {
			copy(head[i*cols:(i+1)*cols], stored[2*i*cols:])
			copy(head[(half+i)*cols:(half+i+1)*cols], stored[(2*i+1)*cols:])
		}
	}
}

// Interleave is the inverse of InOrder: it permutes the rows of x [rows, cols] of q and k as
// convert_hf_to_gguf.py does.
func Interleave[T any](x []T, rows, heads int) {
	cols, half := len(x)/rows, rows/heads/2
	plain := make([]T, 2*half*cols)
	for head := range slices.Chunk(x, 2*half*cols) {
		copy(plain, head)
		for i := range half {
			copy(head[2*i*cols:(2*i+1)*cols], plain[i*cols:(i+1)*cols])
			copy(head[(2*i+1)*cols:(2*i+2)*cols], plain[(half+i)*cols:(half+i+1)*cols])
		}
	}
}
