// Package convert describes how llama.cpp's files store a model of Hugging Face's: the names,
// the order of rows and the values in the header. The rules were derived from llama.cpp's
// convert_hf_to_gguf.py and from what llama.cpp itself reads
// (https://github.com/ggml-org/llama.cpp, src/models).
package convert

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	container "dataflex.dev/dataflex/data/gguf"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/gguf"
)

// Model is a model in the form of a GGUF file, without its tokenizer.
type Model struct {
	Values  []container.Value
	Tensors []Tensor
	Notes   []string // where llama.cpp computes something other than what was trained
}

// Tensor is a tensor of the file.
type Tensor struct {
	Name    string // in ggml's naming
	Type    container.Type
	Shape   []int
	Sources []string // the transformers tensors that are stacked to make it; none: Fixed
	Fixed   []float32

	heads int     // number of heads in each of which rows of q and k are interleaved; 0: none
	add   float32 // added to every number
}

// Arrange converts the numbers of a source from transformers' to llama.cpp's order.
func (t *Tensor) Arrange(x []float32) {
	if t.heads > 0 {
		gguf.Interleave(x, t.Shape[0], t.heads)
	}
	if t.add != 0 {
		for i := range x {
			x[i] += t.add
		}
	}
}

// The names of embeddings and head in transformers.
const (
	embeddings = "model.embed_tokens.weight"
	head       = "lm_head.weight"
)

// New describes a model whose matrices are stored as kind: F32, F16, BF16 or Q8_0; norms,
// biases and routers are float32. names are the tensors of the model, without a tied head, and
// shape returns their sizes. A model that llama.cpp would compute differently is an error that
// says so.
func New(c *checkpoint.ModelConfig, names []string, shape func(string) []int, kind container.Type) (*Model, error) {
	f, err := familyOf(c)
	if err != nil {
		return nil, err
	}
	b := &builder{family: f, config: c, shape: shape, kind: kind, model: &Model{}}
	if err := b.tensors(names); err != nil {
		return nil, err
	}
	b.values()
	b.notes()
	return b.model, nil
}

type builder struct {
	family family
	config *checkpoint.ModelConfig
	shape  func(string) []int
	kind   container.Type
	model  *Model
}

// tensors names every tensor.
func (b *builder) tensors(names []string) error {
	separate := slices.Contains(names, head)
	if separate && b.family.tied {
		return fmt.Errorf("llama.cpp's %s ties the head to the embeddings, and this model has a separate head: export a Hugging Face folder", b.family.arch)
	}
	stacks := map[string]int{}
	for _, name := range names {
		module, ok := b.ggmlName(name)
		if !ok {
			return fmt.Errorf("tensor %q has no place in llama.cpp's %s: export a Hugging Face folder", name, b.family.arch)
		}
		if at, more := stacks[module]; more { // a further expert of the layer
			t := &b.model.Tensors[at]
			t.Sources = append(t.Sources, name)
			t.Shape[0]++
			continue
		}
		t := Tensor{Name: module, Shape: slices.Clone(b.shape(name)), Sources: []string{name}}
		if strings.Contains(module, "_exps.") {
			t.Shape = append([]int{1}, t.Shape...)
			stacks[module] = len(b.model.Tensors)
		}
		b.describe(&t)
		b.model.Tensors = append(b.model.Tensors, t)
	}
	if b.family.hasHead && !separate {
		b.model.Tensors = append(b.model.Tensors, Tensor{Name: "output.weight", Shape: b.shape(embeddings), Sources: []string{embeddings}})
		b.describe(&b.model.Tensors[len(b.model.Tensors)-1])
	}
	b.ropeTensors()
	return nil
}

// describe sets a tensor's type and the order of its numbers.
func (b *builder) describe(t *Tensor) {
	norm := strings.HasSuffix(t.Name, "norm.weight")
	switch rows := t.Shape[len(t.Shape)-1]; {
	case len(t.Shape) == 1, norm, strings.Contains(t.Name, "ffn_gate_inp"):
		t.Type = container.F32
	case b.kind == container.Q8_0 && rows%32 != 0:
		t.Type = container.F16
	default:
		t.Type = b.kind
	}
	if norm && b.family.onePlus {
		t.add = 1
	}
	if strings.Contains(t.Name, "ffn_gate_inp_shexp") {
		t.Shape = t.Shape[len(t.Shape)-1:] // one row
	}
	if !b.family.permute {
		return
	}
	switch {
	case strings.Contains(t.Name, ".attn_q."):
		t.heads = b.config.NumAttentionHeads
	case strings.Contains(t.Name, ".attn_k."):
		t.heads = b.config.NumKeyValueHeads
	}
}

// ggmlName is llama.cpp's name of a tensor; the experts of a layer share one.
func (b *builder) ggmlName(name string) (string, bool) {
	switch name {
	case embeddings:
		return "token_embd.weight", true
	case "model.norm.weight":
		return "output_norm.weight", true
	case head:
		return "output.weight", true
	}
	rest, ok := strings.CutPrefix(name, "model.layers.")
	layer, rest, cut := strings.Cut(rest, ".")
	at := strings.LastIndexByte(rest, '.')
	if !ok || !cut || at < 0 {
		return "", false
	}
	module, part := withoutExpert(rest[:at]), rest[at+1:]
	ggml, ok := b.family.modules[module]
	if !ok {
		ggml, ok = common[module]
	}
	bias := part == "bias" && slices.Contains(strings.Fields(b.family.biases), ggml)
	return "blk." + layer + "." + ggml + "." + part, ok && (part == "weight" || bias)
}

// withoutExpert removes the number of the expert from a module's name.
func withoutExpert(module string) string {
	before, after, ok := strings.Cut(module, ".experts.")
	number, rest, cut := strings.Cut(after, ".")
	if _, err := strconv.Atoi(number); !ok || !cut || err != nil {
		return module
	}
	return before + ".experts." + rest
}

// notes describe where llama.cpp computes something different.
func (b *builder) notes() {
	c := b.config
	if w := c.SlidingWindow; w > 0 && !b.family.windows && w < c.MaxPositionEmbeddings {
		b.model.Notes = append(b.model.Notes, fmt.Sprintf(
			"llama.cpp's %s has no sliding window: beyond %d tokens it attends further back than this model was trained to", b.family.arch, w))
	}
	if r := c.RopeScaling; r != nil && r.Type == "longrope" {
		b.model.Notes = append(b.model.Notes, fmt.Sprintf(
			"llama.cpp chooses between longrope's factors by the context that it is started with, not by a text's length: start it with at most %d for texts that fit", r.OriginalMaxPositionEmbeddings))
	}
}
