package decoder

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dataflex.dev/dataflex/kernels/attention"
	"dataflex.dev/dataflex/kernels/deltanet"
	"dataflex.dev/dataflex/kernels/router"
	"dataflex.dev/dataflex/kernels/swiglu"
	"dataflex.dev/dataflex/model/checkpoint"
)

// family is what distinguishes one model_type from the others. To add one, add a row to
// families and, if it needs something new, a field here or in Config.
type family struct {
	architecture string // the class that config.json's architectures names
	activation   string // the hidden_act that the MLP supports
	norms        []normAt
	headNorms    headNorms
	qNorm, kNorm string // their names, if not q_norm and k_norm
	rotateFirst  bool   // heads are rotated before they are normalised
	layerNorm    bool   // norms also subtract the mean
	bareNorms    bool   // norms have no weights
	parallel     bool   // attention and MLP read the same norm of the layer's input
	embedNorm    bool   // the last norm is also applied to the embeddings
	onePlus      bool   // norms multiply by 1+w
	embedScale   bool   // embeddings are multiplied by sqrt(hidden_size)
	fusedQKV     bool   // one qkv_proj, registered after o_proj
	fusedGateUp  bool   // one gate_up_proj
	interleaved  bool   // rope rotates adjacent pairs
	dropout      bool   // released folders have dropout rates; a notice says that they are not applied
	backwards    bool   // rope rotates in the opposite direction
	plainMLP     plainNames
	experts      expertNames
	routing      routing
	choiceBias   string // the tensor added to the experts' scores for the choice only; "": none
	choiceRow    bool   // its shape is [1, Experts] instead of [Experts]
	noBalance    bool   // there is no load-balancing loss in transformers

	modules       modules  // names that differ from llama's
	order         order    // the order in which a layer's modules are registered
	parallelNorms []normAt // replaces norms if Config.Parallel is set; nil: norms
	pairedNorms   []normAt // replaces parallelNorms if Config.TwoNorms is set
	normBias      bool     // norms add a bias
	chosenNorms   bool     // heads are normalised only if Config.QKNorm is set
	groupedQKV    bool     // qkv holds a group's queries, key and value, then the next group's
	learned       bool     // positions are embeddings (no rotary embedding)
	headBias      bool     // the head adds a bias
	mlpHeadBias   bool     // the head has a bias if MLPs have biases
	sinks         bool     // every attention head has a sink
	latent        bool     // multi-head latent attention
	everyRow      bool     // the padding token's embedding gets gradients, too
	layerScales   bool     // a layer's output is multiplied by a learned factor
	mixtureBeside bool     // a mixture of experts is computed in parallel to the MLP
	gatedQuery    bool     // q_proj also computes a gate for the attention's output
	fusedDelta    bool     // the delta rule's projections are fused into qkvz and ba
	zeroNorms     bool     // norms with 1+w are initialised to w = 0
}

// role is a norm's place in a layer.
type role uint8

const (
	beforeAttention role = iota
	afterAttention       // normalises the attention's output before it is added to the residual
	beforeMLP
	afterMLP
	roles // number of roles
)

// normAt is a norm of a layer; a family lists them in the order of registration.
type normAt struct {
	role role
	name string
}

// headNorms is how queries and keys are normalised.
type headNorms uint8

const (
	noHeadNorms    headNorms = iota
	perHead                  // every head separately
	fullWidth                // all heads together
	ownWeights               // every head separately, with weights of its own: [heads, headDim]
	ownModules               // as ownWeights, each in a module of its own: .norms.0 …
	perRotatedHead           // every head separately, without weights, only in layers with rotary embeddings
)

// order is the order in which a layer's modules are registered, which is that of
// model.parameters() in PyTorch.
type order uint8

const (
	normsLast   order = iota
	normsFirst        // gpt_neox
	normsBefore       // each before its branch: gpt2
)

// plainNames are the module names of an MLP without a gate, down(act(up(x))); up "": the
// family's MLPs have a gate.
type plainNames struct{ up, down string }

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
)

// families are the supported model types. Sizes, biases, windows, multipliers, tied heads and
// the defaults of missing keys come from checkpoint.ModelConfig.
var families = map[string]family{
	"llama":            {architecture: "LlamaForCausalLM", activation: "silu", norms: preNorms},
	"mistral":          {architecture: "MistralForCausalLM", activation: "silu", norms: preNorms},
	"qwen2":            {architecture: "Qwen2ForCausalLM", activation: "silu", norms: preNorms},
	"qwen3":            {architecture: "Qwen3ForCausalLM", activation: "silu", norms: preNorms, headNorms: perHead},
	"gemma":            {architecture: "GemmaForCausalLM", activation: geluTanh, norms: preNorms, onePlus: true, embedScale: true},
	"gemma2":           {architecture: "Gemma2ForCausalLM", activation: geluTanh, norms: gemmas, onePlus: true, embedScale: true},
	"gemma3_text":      {architecture: "Gemma3ForCausalLM", activation: geluTanh, norms: gemmas, headNorms: perHead, onePlus: true, embedScale: true},
	"gemma4_text":      {architecture: "Gemma4ForCausalLM", activation: geluTanh, norms: gemmas, headNorms: perHead, embedScale: true, layerScales: true, experts: gemma4Experts, mixtureBeside: true},
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
	"arcee":            {architecture: "ArceeForCausalLM", activation: relu2, norms: preNorms, plainMLP: plainNames{"up_proj", "down_proj"}},
	"nanochat":         {architecture: "NanoChatForCausalLM", activation: relu2, norms: preNorms, headNorms: perHead, rotateFirst: true, bareNorms: true, embedNorm: true, backwards: true, plainMLP: plainNames{"fc1", "fc2"}},
	"ministral3":       {architecture: "Ministral3ForCausalLM", activation: "silu", norms: preNorms},
	"granitemoe":       {architecture: "GraniteMoeForCausalLM", activation: "silu", norms: preNorms, experts: graniteExperts},
	"cohere2":          {architecture: "Cohere2ForCausalLM", activation: "silu", norms: preNorms[:1], layerNorm: true, interleaved: true, parallel: true},
	"cohere":           {architecture: "CohereForCausalLM", activation: "silu", norms: preNorms[:1], headNorms: ownWeights, chosenNorms: true, layerNorm: true, interleaved: true, parallel: true},
	"gpt_neox":         {architecture: "GPTNeoXForCausalLM", activation: gelu, norms: preNorms, layerNorm: true, normBias: true, order: normsFirst, fusedQKV: true, groupedQKV: true, plainMLP: plainNames{"dense_h_to_4h", "dense_4h_to_h"}, modules: neoxModules, dropout: true, everyRow: true},
	"phi":              {architecture: "PhiForCausalLM", activation: geluNew, norms: preNorms[:1], layerNorm: true, normBias: true, parallel: true, headNorms: perHead, chosenNorms: true, qNorm: "q_layernorm", kNorm: "k_layernorm", plainMLP: plainNames{"fc1", "fc2"}, headBias: true, modules: modules{norm: "model.final_layernorm", o: "dense"}, dropout: true},
	"stablelm":         {architecture: "StableLmForCausalLM", activation: "silu", norms: preNorms, parallelNorms: preNorms[:1], layerNorm: true, normBias: true, headNorms: ownModules, chosenNorms: true, qNorm: "q_layernorm", kNorm: "k_layernorm", dropout: true},
	"starcoder2":       {architecture: "Starcoder2ForCausalLM", activation: geluTanh, norms: preNorms, layerNorm: true, normBias: true, plainMLP: plainNames{"c_fc", "c_proj"}, dropout: true},
	"nemotron":         {architecture: "NemotronForCausalLM", activation: relu2, norms: preNorms, layerNorm: true, normBias: true, onePlus: true, plainMLP: plainNames{"up_proj", "down_proj"}},
	"falcon":           {architecture: "FalconForCausalLM", activation: gelu, norms: falconNorms, parallelNorms: preNorms[:1], pairedNorms: falconPair, layerNorm: true, normBias: true, fusedQKV: true, groupedQKV: true, plainMLP: plainNames{"dense_h_to_4h", "dense_4h_to_h"}, modules: falconModules, dropout: true, everyRow: true},
	"gpt2":             {architecture: "GPT2LMHeadModel", activation: geluNew, norms: gpt2Norms, layerNorm: true, normBias: true, order: normsBefore, fusedQKV: true, learned: true, plainMLP: plainNames{"c_fc", "c_proj"}, modules: gpt2Modules, dropout: true, everyRow: true},
	"minimax_m2":       {architecture: "MiniMaxM2ForCausalLM", activation: "silu", norms: preNorms, headNorms: fullWidth, experts: mixtralExperts, routing: bySigmoid, choiceBias: "e_score_correction_bias"},
	"glm4_moe":         {architecture: "Glm4MoeForCausalLM", activation: "silu", norms: preNorms, headNorms: perHead, chosenNorms: true, experts: glmExperts, routing: bySigmoid, choiceBias: "gate.e_score_correction_bias", noBalance: true},
	"glm4_moe_lite":    {architecture: "Glm4MoeLiteForCausalLM", activation: "silu", norms: preNorms, experts: glmExperts, routing: bySigmoid, choiceBias: "gate.e_score_correction_bias", noBalance: true, latent: true},
	"deepseek_v3":      {architecture: "DeepseekV3ForCausalLM", activation: "silu", norms: preNorms, experts: glmExperts, routing: bySigmoid, choiceBias: "gate.e_score_correction_bias", noBalance: true, latent: true},
	"youtu":            {architecture: "YoutuForCausalLM", activation: "silu", norms: preNorms, latent: true},
	"ernie4_5_moe":     {architecture: "Ernie4_5_MoeForCausalLM", activation: "silu", norms: preNorms, interleaved: true, experts: ernieExperts, routing: byCorrected, choiceBias: "moe_statics.e_score_correction_bias", choiceRow: true, mlpHeadBias: true},
	"gpt_oss":          {architecture: "GptOssForCausalLM", activation: "silu", norms: preNorms, experts: gptOssExperts, sinks: true},
	"llama4_text":      {architecture: "Llama4ForCausalLM", activation: "silu", norms: preNorms, headNorms: perRotatedHead, chosenNorms: true, rotateFirst: true, interleaved: true, experts: llama4Experts, routing: bySigmoid, noBalance: true, modules: modules{mlp: "feed_forward"}},
	"exaone4":          {architecture: "Exaone4ForCausalLM", activation: "silu", norms: postNorms, headNorms: perHead},
	"glm":              {architecture: "GlmForCausalLM", activation: "silu", norms: preNorms, fusedGateUp: true, interleaved: true},
	"qwen2_vl_text":    {architecture: "Qwen2VLForConditionalGeneration", activation: "silu", norms: preNorms},
	"qwen2_5_vl_text":  {architecture: "Qwen2_5_VLForConditionalGeneration", activation: "silu", norms: preNorms},
	"qwen3_vl_text":    {architecture: "Qwen3VLForConditionalGeneration", activation: "silu", norms: preNorms, headNorms: perHead},
	"glm4v_text":       {architecture: "Glm4vForConditionalGeneration", activation: "silu", norms: sandwich, fusedGateUp: true, interleaved: true},
	"glm_ocr_text":     {architecture: "GlmOcrForConditionalGeneration", activation: "silu", norms: sandwich, fusedGateUp: true, interleaved: true},
	"olmoe":            {architecture: "OlmoeForCausalLM", activation: "silu", norms: preNorms, headNorms: fullWidth, experts: qwenExperts},
	"mixtral":          {architecture: "MixtralForCausalLM", activation: "silu", norms: preNorms, experts: mixtralExperts},
	"lfm2":             {architecture: "Lfm2ForCausalLM", activation: "silu", norms: lfmNorms, headNorms: perHead, qNorm: "q_layernorm", kNorm: "k_layernorm", modules: lfmModules},
	"qwen3_next":       {architecture: "Qwen3NextForCausalLM", activation: "silu", norms: preNorms, headNorms: perHead, onePlus: true, zeroNorms: true, gatedQuery: true, fusedDelta: true, experts: qwenExperts},
	"qwen3_5_text":     {architecture: "Qwen3_5ForCausalLM", activation: "silu", norms: preNorms, headNorms: perHead, onePlus: true, zeroNorms: true, gatedQuery: true},
	"qwen3_5_moe_text": {architecture: "Qwen3_5MoeForCausalLM", activation: "silu", norms: preNorms, headNorms: perHead, onePlus: true, zeroNorms: true, gatedQuery: true, experts: qwen35Experts},
	"qwen2_moe":        {architecture: "Qwen2MoeForCausalLM", activation: "silu", norms: preNorms, experts: qwenExperts},
	"qwen3_moe":        {architecture: "Qwen3MoeForCausalLM", activation: "silu", norms: preNorms, headNorms: perHead, experts: qwenExperts},
}

// The activations of MLPs, as config.json names them.
const (
	gelu     = "gelu"
	geluNew  = "gelu_new"
	geluFast = "gelu_fast"
	geluTanh = "gelu_pytorch_tanh"
	relu2    = "relu2"
)

// plainActivations are the activations that MLPs without a gate support, in all families.
var plainActivations = map[string]swiglu.Function{
	gelu: swiglu.ExactGELU, geluNew: swiglu.ApproximateGELU, geluFast: swiglu.ApproximateGELU, geluTanh: swiglu.ApproximateGELU, relu2: swiglu.SquaredReLU,
}

// is reports whether an architecture belongs to the family: its causal language model, or the
// model without a head, as embedding models are saved.
func (f family) is(architecture string) bool {
	return architecture == f.architecture || architecture == f.classPrefix()+"Model" || architecture == f.classPrefix()+"TextModel"
}

// generates reports whether an architecture is a multimodal model with a language model.
func generates(architecture string) bool {
	return strings.HasSuffix(architecture, "ForConditionalGeneration") || strings.HasSuffix(architecture, "Model")
}

// classPrefix returns the common prefix of the names of the family's classes.
func (f family) classPrefix() string {
	return strings.TrimSuffix(strings.TrimSuffix(f.architecture, "ForCausalLM"), "LMHeadModel")
}

// act returns the activation of the gated MLP.
func (f family) act() swiglu.Activation {
	if f.activation == geluTanh {
		return swiglu.GELUTanh
	}
	return swiglu.SiLU
}

// plain returns the activation of the MLP without a gate.
func (f family) plain(c *Config) swiglu.Pointwise {
	return swiglu.Pointwise{Function: plainActivations[cmp.Or(c.Activation, f.activation)]}
}

// normsOf returns the norms of a layer in the order of registration.
func (f family) normsOf(c *Config) []normAt {
	switch {
	case c.TwoNorms:
		return f.pairedNorms
	case c.Parallel && f.parallelNorms != nil:
		return f.parallelNorms
	}
	return f.norms
}

// biasedHead reports whether the head has a bias.
func (f family) biasedHead(c *Config) bool { return f.headBias || f.mlpHeadBias && c.MLPBias }

// hostOnly names the part of the model for which only the CPU has a kernel; "": none.
func (f family) hostOnly(c *Config) string {
	switch {
	case c.Latent.ValueDim > c.Latent.PlainDim+c.Latent.RotaryDim:
		return "latent attention whose values are wider than its keys"
	case c.MoE.Experts > router.MaxDeviceExperts:
		return fmt.Sprintf("more than %d experts", router.MaxDeviceExperts)
	case c.MoE.Groups > router.MaxDeviceGroups:
		return fmt.Sprintf("experts in more than %d groups", router.MaxDeviceGroups)
	case f.sinks && c.widestHead() > attention.TensorHeadDim:
		return fmt.Sprintf("attention with sinks and heads of %d", c.widestHead())
	case c.widestHead() > attention.DeviceHeadDim:
		return fmt.Sprintf("attention with heads of %d", c.widestHead())
	case c.Linear.KeyDim > deltanet.DeviceKeyDim:
		return fmt.Sprintf("a gated delta rule with keys of %d", c.Linear.KeyDim)
	}
	return ""
}

// checkSupported returns an error if the decoder cannot compute the model.
func checkSupported(c *checkpoint.ModelConfig) error {
	f, ok := families[c.ModelType]
	if !ok {
		return unknown(c.ModelType, strings.Join(c.Architectures, ", "))
	}
	if c.Multimodal != nil {
		if len(c.Architectures) > 0 && !slices.ContainsFunc(c.Architectures, generates) {
			return fmt.Errorf("architectures %v is not supported for model_type %q: a …ForConditionalGeneration is", c.Architectures, c.Multimodal.ModelType)
		}
	} else if len(c.Architectures) > 0 && !slices.ContainsFunc(c.Architectures, f.is) {
		return fmt.Errorf("architectures %v is not supported for model_type %q; supported is: %s", c.Architectures, c.ModelType, f.architecture)
	}
	if err := f.checkActivation(c); err != nil {
		return err
	}
	if c.AttentionDropout != 0 && !f.dropout {
		return fmt.Errorf("attention_dropout %g is not supported; set it to 0", c.AttentionDropout)
	}
	for _, key := range []string{"resid_pdrop", "embd_pdrop", "router_jitter_noise"} {
		if v, ok := c.Value(key); ok && v != nil && strings.Trim(fmt.Sprint(v), "0.") != "" && !f.dropout {
			return fmt.Errorf("%s %v is not supported; set it to 0", key, v)
		}
	}
	return nil
}

// checkActivation returns an error if the MLP does not support the activation in config.json.
func (f family) checkActivation(c *checkpoint.ModelConfig) error {
	if f.plainMLP.up != "" {
		if _, ok := plainActivations[c.HiddenAct]; !ok {
			return fmt.Errorf("hidden_act %q is not supported for model_type %q; supported are: %s", c.HiddenAct, c.ModelType, strings.Join(slices.Sorted(maps.Keys(plainActivations)), ", "))
		}
		return nil
	}
	// The first gemma's config.json says gelu and means the tanh form.
	if c.HiddenAct != f.activation && (c.ModelType != "gemma" || c.HiddenAct != gelu) {
		return fmt.Errorf("hidden_act %q is not supported for model_type %q; supported is: %s", c.HiddenAct, c.ModelType, f.activation)
	}
	return nil
}
