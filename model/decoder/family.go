package decoder

import (
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/checkpoint"
)

// family is what one model_type does differently from the others. A new one is a
// row in families and, where it needs something that no family had before, a field
// here or in Config that layer reads.
type family struct {
	architecture string // the class in config.json's architectures
	activation   string // hidden_act that the MLP computes
	norms        []normAt
	headNorms    headNorms
	qNorm, kNorm string // their names, where they are not q_norm and k_norm
	rotateFirst  bool   // heads are turned before they are normalised
	layerNorm    bool   // norms take the mean away, too
	bareNorms    bool   // norms have no weights
	parallel     bool   // attention and MLP read one norm of the layer's input
	embedNorm    bool   // the embeddings go through the last norm, too
	onePlus      bool   // norms multiply by 1+w
	embedScale   bool   // embeddings are multiplied by sqrt(hidden_size)
	fusedQKV     bool   // one qkv_proj, registered after o_proj
	fusedGateUp  bool   // one gate_up_proj
	interleaved  bool   // rope turns neighbours
	dropout      bool   // released folders ask for it: said, and not done
	backwards    bool   // rope turns the other way
	plainMLP     plainMLP
	experts      expertNames
	choiceBias   string // of experts whose scores are sigmoids, the tensor that moves the choice
}

// role is a norm's place in a layer.
type role uint8

const (
	beforeAttention role = iota
	afterAttention       // on what attention adds to the residual
	beforeMLP
	afterMLP
	roles // how many there are
)

// normAt is a norm of a layer; a family's stand in the order of registration.
type normAt struct {
	role role
	name string
}

// headNorms says how queries and keys are normalised.
type headNorms uint8

const (
	noHeadNorms headNorms = iota
	perHead               // every head by itself
	fullWidth             // all heads as one row
)

// plainMLP are the modules of an MLP without a gate, down(act(up(x))); up "" = the
// family's have one.
type plainMLP struct{ up, down string }

// expertNames are the modules of a mixture of experts; block "" = the family has none.
type expertNames struct {
	block          string
	gate, up, down string // of an expert
	downSecond     bool   // down is registered before up
	router         string // "": gate

	// In the place of the experts' own modules, one tensor for all of them: gate above
	// up, [Experts, 2·Intermediate, Hidden], and down, [Experts, Hidden, Intermediate].
	allGateUp, allDown string
}

var (
	preNorms = []normAt{{beforeAttention, "input_layernorm"}, {beforeMLP, "post_attention_layernorm"}}
	gemmas   = []normAt{
		{beforeAttention, "input_layernorm"},
		{afterAttention, "post_attention_layernorm"},
		{beforeMLP, "pre_feedforward_layernorm"},
		{afterMLP, "post_feedforward_layernorm"},
	}
	sandwich = []normAt{
		{beforeAttention, "input_layernorm"},
		{beforeMLP, "post_attention_layernorm"},
		{afterAttention, "post_self_attn_layernorm"},
		{afterMLP, "post_mlp_layernorm"},
	}
	postNorms = []normAt{{afterAttention, "post_attention_layernorm"}, {afterMLP, "post_feedforward_layernorm"}}

	qwenExperts    = expertNames{block: "mlp", gate: "gate_proj", up: "up_proj", down: "down_proj"}
	graniteExperts = expertNames{block: "block_sparse_moe", router: "router.layer", allGateUp: "input_linear", allDown: "output_linear"}
	mixtralExperts = expertNames{block: "block_sparse_moe", gate: "w1", up: "w3", down: "w2", downSecond: true}
)

// families are the supported model types. Sizes, biases, windows, factors, tied heads
// and the defaults of missing keys come from checkpoint.ModelConfig.
var families = map[string]family{
	"llama":            {architecture: "LlamaForCausalLM", activation: "silu", norms: preNorms},
	"mistral":          {architecture: "MistralForCausalLM", activation: "silu", norms: preNorms},
	"qwen2":            {architecture: "Qwen2ForCausalLM", activation: "silu", norms: preNorms},
	"qwen3":            {architecture: "Qwen3ForCausalLM", activation: "silu", norms: preNorms, headNorms: perHead},
	"gemma":            {architecture: "GemmaForCausalLM", activation: geluTanh, norms: preNorms, onePlus: true, embedScale: true},
	"gemma2":           {architecture: "Gemma2ForCausalLM", activation: geluTanh, norms: gemmas, onePlus: true, embedScale: true},
	"gemma3_text":      {architecture: "Gemma3ForCausalLM", activation: geluTanh, norms: gemmas, headNorms: perHead, onePlus: true, embedScale: true},
	"phi3":             {architecture: "Phi3ForCausalLM", activation: "silu", norms: preNorms, fusedQKV: true, fusedGateUp: true},
	"olmo2":            {architecture: "Olmo2ForCausalLM", activation: "silu", norms: postNorms, headNorms: fullWidth},
	"granite":          {architecture: "GraniteForCausalLM", activation: "silu", norms: preNorms},
	"glm4":             {architecture: "Glm4ForCausalLM", activation: "silu", norms: sandwich, fusedGateUp: true, interleaved: true},
	"olmo3":            {architecture: "Olmo3ForCausalLM", activation: "silu", norms: postNorms, headNorms: fullWidth},
	"smollm3":          {architecture: "SmolLM3ForCausalLM", activation: "silu", norms: preNorms},
	"seed_oss":         {architecture: "SeedOssForCausalLM", activation: "silu", norms: preNorms, dropout: true},
	"ernie4_5":         {architecture: "Ernie4_5ForCausalLM", activation: "silu", norms: preNorms, interleaved: true},
	"hunyuan_v1_dense": {architecture: "HunYuanDenseV1ForCausalLM", activation: "silu", norms: preNorms, headNorms: perHead, qNorm: "query_layernorm", kNorm: "key_layernorm", rotateFirst: true},
	"olmo":             {architecture: "OlmoForCausalLM", activation: "silu", norms: preNorms, layerNorm: true, bareNorms: true},
	"arcee":            {architecture: "ArceeForCausalLM", activation: relu2, norms: preNorms, plainMLP: plainMLP{"up_proj", "down_proj"}},
	"nanochat":         {architecture: "NanoChatForCausalLM", activation: relu2, norms: preNorms, headNorms: perHead, rotateFirst: true, bareNorms: true, embedNorm: true, backwards: true, plainMLP: plainMLP{"fc1", "fc2"}},
	"ministral3":       {architecture: "Ministral3ForCausalLM", activation: "silu", norms: preNorms},
	"granitemoe":       {architecture: "GraniteMoeForCausalLM", activation: "silu", norms: preNorms, experts: graniteExperts},
	"cohere2":          {architecture: "Cohere2ForCausalLM", activation: "silu", norms: preNorms[:1], layerNorm: true, interleaved: true, parallel: true},
	"minimax_m2":       {architecture: "MiniMaxM2ForCausalLM", activation: "silu", norms: preNorms, headNorms: fullWidth, experts: mixtralExperts, choiceBias: "e_score_correction_bias"},
	"exaone4":          {architecture: "Exaone4ForCausalLM", activation: "silu", norms: postNorms, headNorms: perHead},
	"glm":              {architecture: "GlmForCausalLM", activation: "silu", norms: preNorms, fusedGateUp: true, interleaved: true},
	"olmoe":            {architecture: "OlmoeForCausalLM", activation: "silu", norms: preNorms, headNorms: fullWidth, experts: qwenExperts},
	"mixtral":          {architecture: "MixtralForCausalLM", activation: "silu", norms: preNorms, experts: mixtralExperts},
	"qwen2_moe":        {architecture: "Qwen2MoeForCausalLM", activation: "silu", norms: preNorms, experts: qwenExperts},
	"qwen3_moe":        {architecture: "Qwen3MoeForCausalLM", activation: "silu", norms: preNorms, headNorms: perHead, experts: qwenExperts},
}

const (
	geluTanh = "gelu_pytorch_tanh"
	relu2    = "relu2"
)

// is says whether an architecture is the family's: its causal language model, or the
// layers alone, as embedding models are saved.
func (f family) is(architecture string) bool {
	stem := strings.TrimSuffix(f.architecture, "ForCausalLM")
	return architecture == f.architecture || architecture == stem+"Model" || architecture == stem+"TextModel"
}

// act is the activation of the MLP.
func (f family) act() swiglu.Activation {
	if f.activation == geluTanh {
		return swiglu.GELUTanh
	}
	return swiglu.SiLU
}

// hostOnly names what the family computes that only the CPU has kernels for, "" for nothing.
func (f family) hostOnly() string {
	if f.choiceBias != "" {
		return "routing by sigmoids"
	}
	return ""
}

// supported says what stands in the way, if anything does.
func supported(c *checkpoint.ModelConfig) error {
	f, ok := families[c.ModelType]
	if !ok {
		return unknown(c.ModelType, strings.Join(c.Architectures, ", "))
	}
	if len(c.Architectures) > 0 && !slices.ContainsFunc(c.Architectures, f.is) {
		return fmt.Errorf("architectures %v is not supported for model_type %q; supported is: %s", c.Architectures, c.ModelType, f.architecture)
	}
	// The first gemma's files say gelu and mean the tanh form.
	if c.HiddenAct != f.activation && (c.ModelType != "gemma" || c.HiddenAct != "gelu") {
		return fmt.Errorf("hidden_act %q is not supported for model_type %q; supported is: %s", c.HiddenAct, c.ModelType, f.activation)
	}
	if c.AttentionDropout != 0 && !f.dropout {
		return fmt.Errorf("attention_dropout %g is not supported; set it to 0", c.AttentionDropout)
	}
	for _, key := range []string{"resid_pdrop", "embd_pdrop", "router_jitter_noise"} {
		if v, ok := c.Value(key); ok && v != nil && strings.Trim(fmt.Sprint(v), "0.") != "" {
			return fmt.Errorf("%s %v is not supported; set it to 0", key, v)
		}
	}
	return nil
}
