package convert

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"dataflex.dev/dataflex/model/checkpoint"
)

// family describes how llama.cpp's files store the models of a model_type.
type family struct {
	arch    string            // general.architecture
	permute bool              // rope rotates adjacent pairs: rows of q and k are interleaved
	onePlus bool              // norms multiply by 1+w, which is the number stored
	hasHead bool              // the head is stored even if it is tied to the embeddings
	tied    bool              // the head is always tied to the embeddings
	biases  string            // projections that may have biases, by ggml's names
	modules map[string]string // of a layer, in addition to common
	windows bool              // layers with a sliding window: llama.cpp knows which layers have one
	scaling []string          // kinds of rope_scaling that llama.cpp implements
}

var (
	attention = "attn_q attn_k attn_v"
	// Modules that most families share; gemma2 and olmo2 have norms after attention and MLP,
	// too.
	common = map[string]string{
		"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
		"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
		"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
		"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
	}
	fourNorms = map[string]string{
		"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
	}
	qwenExperts = map[string]string{
		"mlp.gate": "ffn_gate_inp", "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
		"mlp.experts.gate_proj": "ffn_gate_exps", "mlp.experts.up_proj": "ffn_up_exps", "mlp.experts.down_proj": "ffn_down_exps",
		"mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp", "mlp.shared_expert.down_proj": "ffn_down_shexp",
	}
	mixtralExperts = map[string]string{
		"block_sparse_moe.gate":       "ffn_gate_inp",
		"block_sparse_moe.experts.w1": "ffn_gate_exps", "block_sparse_moe.experts.w3": "ffn_up_exps", "block_sparse_moe.experts.w2": "ffn_down_exps",
	}
	fusedPhi = map[string]string{"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"}

	stretched = []string{"linear", "yarn"}
	llama     = family{arch: "llama", permute: true, biases: attention + " attn_output ffn_gate ffn_up ffn_down", scaling: []string{"linear", "yarn", "llama3"}}
)

// families are the supported families; each was loaded in llama.cpp and gave transformers'
// logits (convert_test.go).
var families = map[string]family{
	"llama":       llama,
	"mistral":     llama,
	"mixtral":     {arch: "llama", permute: true, modules: mixtralExperts, scaling: stretched},
	"smollm3":     {arch: "smollm3", permute: true, scaling: stretched},
	"granite":     {arch: "granite", permute: true, scaling: stretched},
	"qwen2":       {arch: "qwen2", biases: attention, scaling: stretched},
	"qwen2_moe":   {arch: "qwen2moe", hasHead: true, biases: attention, modules: qwenExperts, scaling: stretched},
	"qwen3":       {arch: "qwen3", scaling: stretched},
	"qwen3_moe":   {arch: "qwen3moe", modules: qwenExperts, scaling: stretched},
	"gemma":       {arch: "gemma", onePlus: true, tied: true},
	"gemma2":      {arch: "gemma2", onePlus: true, tied: true, modules: fourNorms, windows: true},
	"gemma3_text": {arch: "gemma3", onePlus: true, modules: fourNorms, windows: true, scaling: []string{"linear"}},
	"phi3":        {arch: "phi3", modules: fusedPhi, scaling: []string{"longrope"}},
	"olmo2":       {arch: "olmo2", hasHead: true, modules: fourNorms},
}

// familyOf returns the family of a model, or an error naming the setting that llama.cpp does
// not implement.
func familyOf(c *checkpoint.ModelConfig) (family, error) {
	f, ok := families[c.ModelType]
	if !ok {
		return f, fmt.Errorf("it is not known how llama.cpp stores a %q; GGUF files are written for %s: export a Hugging Face folder, and convert it with llama.cpp's convert_hf_to_gguf.py",
			c.ModelType, strings.Join(slices.Sorted(maps.Keys(families)), ", "))
	}
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("llama.cpp's %s does not implement "+format+": export a Hugging Face folder", append([]any{f.arch}, args...)...)
	}
	if r := c.RopeScaling; r != nil && !slices.Contains(f.scaling, r.Type) {
		return f, refuse("rope_scaling of the type %q", r.Type)
	}
	if r := c.RopeScaling; r != nil && r.Smooth {
		return f, refuse("rope_scaling without truncate")
	}
	if r := c.RopeScaling; r != nil && (r.MScale != 0 || r.MScaleAllDim != 0) {
		return f, refuse("rope_scaling with mscale")
	}
	switch n := c.QueryPreAttnScalar; {
	case n == 0 || n == float64(c.HeadDim):
	case f.arch != "gemma2" && f.arch != "gemma3" || n != float64(c.HiddenSize/c.NumAttentionHeads) || c.NumHiddenLayers != largeGemma[f.arch]:
		return f, refuse("query_pre_attn_scalar %v with heads of %d", n, c.HeadDim)
	}
	if c.ModelType == "qwen2" && c.HeadDim*c.NumAttentionHeads != c.HiddenSize {
		return f, refuse("a head_dim of %d with %d heads in a hidden_size of %d", c.HeadDim, c.NumAttentionHeads, c.HiddenSize)
	}
	if f.windows && !f.window(c) {
		return f, refuse("windows in other layers than the released models have them")
	}
	if c.NoRope != nil && !f.noRope(c) {
		return f, refuse("layers without positions other than every fourth")
	}
	return f, f.experts(c, refuse)
}

// largeGemma is the number of layers by which llama.cpp recognises the models whose attention
// is scaled by hidden_size/heads.
var largeGemma = map[string]int{"gemma2": 46, "gemma3": 62}

// window checks that the layers with a window are those for which llama.cpp assumes one.
func (f family) window(c *checkpoint.ModelConfig) bool {
	period := map[string]int{"gemma2": 2, "gemma3": 6}[f.arch]
	for i := range c.NumHiddenLayers {
		if c.SlidingWindow > 0 && (c.Window(i) > 0) != ((i+1)%period != 0) {
			return false
		}
	}
	return true
}

func (f family) noRope(c *checkpoint.ModelConfig) bool {
	for i, free := range c.NoRope {
		if f.arch != "smollm3" || free != ((i+1)%4 == 0) {
			return false
		}
	}
	return true
}

// experts refuses mixtures that llama.cpp would compute differently.
func (f family) experts(c *checkpoint.ModelConfig, refuse func(string, ...any) error) error {
	m := c.MoE
	switch {
	case m == nil:
	case m.SparseStep > 1 || len(m.DenseLayers) > 0:
		return refuse("layers without experts among those with them")
	case m.Normalize == (f.arch == "qwen2moe"):
		return refuse("norm_topk_prob: %v", m.Normalize)
	}
	return nil
}
