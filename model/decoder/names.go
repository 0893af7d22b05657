package decoder

import (
	"cmp"
	"strings"

	"dataflex.dev/dataflex/model/checkpoint"
)

// modules are the module paths and names that every family has; "" stands for llama's.
type modules struct {
	positions, layers, norm string // paths from the top of the model
	attention, mlp          string // names in a layer
	q, k, v, o, qkv         string // names in the attention
	gate, up, down          string // names in a gated MLP
}

var (
	llamaModules = modules{
		layers: "model.layers", norm: "model.norm", attention: "self_attn", mlp: "mlp",
		q: "q_proj", k: "k_proj", v: "v_proj", o: "o_proj", qkv: "qkv_proj",
		gate: "gate_proj", up: "up_proj", down: "down_proj",
	}
	neoxModules = modules{
		layers: "gpt_neox.layers", norm: "gpt_neox.final_layer_norm", attention: "attention",
		o: "dense", qkv: "query_key_value",
	}
	falconModules = modules{
		layers: "transformer.h", norm: "transformer.ln_f", attention: "self_attention", o: "dense", qkv: "query_key_value",
	}
	gpt2Modules = modules{
		positions: "transformer.wpe", layers: "transformer.h", norm: "transformer.ln_f", attention: "attn", o: "c_proj", qkv: "c_attn",
	}

	lfmModules = modules{norm: "model.embedding_norm", mlp: "feed_forward", o: "out_proj", gate: "w1", up: "w3", down: "w2"}

	lfmNorms    = []normAt{{beforeAttention, "operator_norm"}, {beforeMLP, "ffn_norm"}}
	falconNorms = []normAt{{beforeMLP, "post_attention_layernorm"}, {beforeAttention, "input_layernorm"}}
	falconPair  = []normAt{{beforeAttention, "ln_attn"}, {beforeMLP, "ln_mlp"}}
	gpt2Norms   = []normAt{{beforeAttention, "ln_1"}, {beforeMLP, "ln_2"}}
)

// within returns the family for the language model of a multimodal model, whose module paths
// have a prefix; whole = nil: the family itself.
func (f family) within(whole *checkpoint.Multimodal) family {
	if whole != nil {
		f.modules.layers, f.modules.norm = whole.Text+".layers", whole.Text+".norm"
	}
	return f
}

// root returns the path of the module that contains the layers.
func (f family) root() string { return strings.TrimSuffix(f.named().layers, "layers") }

// named returns the family's module names, with llama's where it has none of its own.
func (f family) named() modules {
	m, l := f.modules, llamaModules
	return modules{
		positions: m.positions, layers: cmp.Or(m.layers, l.layers), norm: cmp.Or(m.norm, l.norm),
		attention: cmp.Or(m.attention, l.attention), mlp: cmp.Or(m.mlp, l.mlp),
		q: cmp.Or(m.q, l.q), k: cmp.Or(m.k, l.k), v: cmp.Or(m.v, l.v), o: cmp.Or(m.o, l.o), qkv: cmp.Or(m.qkv, l.qkv),
		gate: cmp.Or(m.gate, l.gate), up: cmp.Or(m.up, l.up), down: cmp.Or(m.down, l.down),
	}
}
