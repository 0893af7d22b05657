package checkpoint

// familyDefaults are the values of keys that a config.json may leave out (transformers 4.52,
// configuration_<family>.py).
type familyDefaults struct {
	maxPositions  int
	kvHeads       int // 0: as many as query heads
	headDim       int // 0: hidden_size / num_attention_heads
	slidingWindow int
	windowSwitch  bool // use_sliding_window, by default off
	windowEvery   bool // without max_window_layers, which transformers 5 does not write, every layer has the window
	windowPattern int
	qkvBias       bool   // biases that no key disables
	attentionBias bool   // of attention_bias, which here only applies to q, k and v
	outBiasKey    string // the key for the bias of o, beside attention_bias
	biasKey       string // in place of attention_bias and mlp_bias
	noRopeEvery   int    // no_rope_layer_interval: every noRopeEvery-th layer has no positions
	windowRope    bool   // in models with a window, layers without a window have no positions
	tied          bool
	activation    string  // "": silu
	eps           float64 // 0: 1e-6
	theta         float64 // 0: 10000
	localTheta    float64
	ropeAlpha     bool    // of dynamic rope_scaling: scales the base
	rotary        float64 // 0: 1

	multipliers bool    // granite's
	epsKey      string  // "": rms_norm_eps
	logitScale  float64 // of logit_scale; 0: there is no such key

	queryScalar, attnSoftCap, finalSoftCap float64

	keys         map[string]string // the family's spelling of keys
	either       map[string]string // keys of which the family reads both spellings
	widening     int               // the default of intermediate_size as a multiple of hidden_size
	allHeads     bool              // as many key and value heads as query heads, whatever a key says
	multiQuery   bool              // falcon: one key and value head, unless another key says otherwise
	biased       bool              // biases everywhere, unless biasKey or attention_bias disables them
	alwaysBiased bool              // whatever a key says
	qkvBiasKey   string            // for biases of q, k and v only
	parallelKey  string            // whether attention and MLP are parallel branches
	parallel     bool              // the default of parallelKey
	qkNormKey    string            // whether queries and keys are normalised
	initializer  float64           // 0: 0.02
	tables       Tables            // "": as in llama
	conv1D       []string          // linears whose weights are stored [in, out], by suffixes of their paths
	buffers      []string          // suffixes of names of buffers in old files, which nothing reads
	unread       []string          // prefixes of names that are not read here: heads that predict further tokens
	intermediate int               // the default of intermediate_size
	adjusted     bool              // lfm2: the width of the MLPs is computed from intermediate_size, unless block_auto_adjust_ff_dim is false
	mixer        mixerDefaults

	moe       moeDefaults
	latent    *LatentConfig // of keys and values; nil: attention projects them directly
	ownLayers bool          // gemma4: layers differ in their heads, share keys, have inputs of their own

	rope       map[string]any // the default of rope_parameters
	modern     bool           // only transformers 5 implements it, where yarn's factor always applies
	chunks     int            // attention_chunk_size; 0: there is no such key
	qkNorm     bool           // the default of qkNormKey
	allBiased  bool           // attention_bias applies to o as well, and its default is true
	noOutBias  bool           // attention_bias does not apply to o
	nextLayers bool           // files have layers after the last one, for multi-token prediction
}

const geluTanh = "gelu_pytorch_tanh"

// gptOssRope is the default rope scaling of gpt_oss.
var gptOssRope = map[string]any{
	"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false, "original_max_position_embeddings": 4096,
}

var families = map[string]familyDefaults{
	"llama":   {maxPositions: 2048},
	"mistral": {maxPositions: 131072, kvHeads: 8, slidingWindow: 4096},
	"qwen2":   {maxPositions: 32768, kvHeads: 32, slidingWindow: 4096, windowSwitch: true, qkvBias: true},
	"qwen3":   {maxPositions: 32768, kvHeads: 32, headDim: 128, slidingWindow: 4096, windowSwitch: true},
	"gemma":   {maxPositions: 8192, kvHeads: 16, headDim: 256, tied: true, activation: geluTanh},
	"gemma2": {
		maxPositions: 8192, kvHeads: 4, headDim: 256, slidingWindow: 4096, windowPattern: 2, tied: true, activation: geluTanh,
		queryScalar: 256, attnSoftCap: 50, finalSoftCap: 30,
	},
	"gemma3_text": {
		maxPositions: 131072, kvHeads: 4, headDim: 256, slidingWindow: 4096, windowPattern: 6, tied: true, activation: geluTanh,
		theta: 1e6, localTheta: 1e4, queryScalar: 256,
	},
	"gemma4_text": {
		maxPositions: 131072, kvHeads: 4, headDim: 256, slidingWindow: 512, windowPattern: 6, tied: true, activation: geluTanh,
		theta: 1e6, localTheta: 1e4, queryScalar: 1, ownLayers: true,
	},
	"phi3":    {maxPositions: 4096, eps: 1e-5},
	"olmo2":   {maxPositions: 2048, eps: 1e-5},
	"granite": {maxPositions: 2048, multipliers: true},
	"olmo3": {
		maxPositions: 2048, slidingWindow: 4096, windowPattern: 4, eps: 1e-5, theta: 5e5, localTheta: 5e5,
	},
	"olmoe": {
		maxPositions: 4096, eps: 1e-5,
		moe: moeDefaults{countKey: "num_experts", experts: 64, perToken: 8, auxCoef: 0.01},
	},
	"smollm3":          {maxPositions: 32768, kvHeads: 4, tied: true, theta: 2e6, windowSwitch: true, noRopeEvery: 4},
	"seed_oss":         {maxPositions: 524288, kvHeads: 8, headDim: 128, attentionBias: true, outBiasKey: "attention_out_bias"},
	"ernie4_5":         {maxPositions: 131072, kvHeads: 2, headDim: 128, tied: true, eps: 1e-5, theta: 5e5, biasKey: "use_bias"},
	"hunyuan_v1_dense": {maxPositions: 2048, eps: 1e-5, ropeAlpha: true},
	"olmo":             {maxPositions: 2048, eps: 1e-5},
	"arcee":            {maxPositions: 4096, activation: "relu2", eps: 1e-5},
	"nanochat":         {maxPositions: 2048, activation: "relu2", finalSoftCap: 15},
	"ministral3":       {maxPositions: 262144, kvHeads: 8, headDim: 128, eps: 1e-5},
	"granitemoe": {
		maxPositions: 2048, multipliers: true,
		moe: moeDefaults{countKey: localExperts, experts: 8, perToken: 2, normalize: true},
	},
	"cohere2": {
		maxPositions: 8192, slidingWindow: 4096, windowPattern: 4, windowRope: true, tied: true, eps: 1e-5, epsKey: "layer_norm_eps", logitScale: 0.0625,
	},
	"cohere": {
		maxPositions: 8192, tied: true, eps: 1e-5, epsKey: "layer_norm_eps", logitScale: 0.0625, qkNormKey: "use_qk_norm",
	},
	"gpt_neox": {
		maxPositions: 2048, activation: "gelu", eps: 1e-5, epsKey: "layer_norm_eps", rotary: 0.25, allHeads: true, biased: true,
		parallelKey: "use_parallel_residual", parallel: true,
		either: map[string]string{"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
		tables: Tables{"gpt_neox.embed_in", "embed_out"}, buffers: []string{".attention.bias", ".attention.masked_bias"},
	},
	"phi": {
		maxPositions: 2048, activation: "gelu_new", eps: 1e-5, epsKey: "layer_norm_eps", rotary: 0.5, alwaysBiased: true, qkNormKey: "qk_layernorm",
	},
	"stablelm": {
		maxPositions: 4096, kvHeads: 32, eps: 1e-5, epsKey: "layer_norm_eps", rotary: 0.25, qkvBiasKey: "use_qkv_bias", qkNormKey: "qk_layernorm",
		parallelKey: "use_parallel_residual",
	},
	"starcoder2": {
		maxPositions: 4096, kvHeads: 2, activation: geluTanh, eps: 1e-5, epsKey: "norm_epsilon", tied: true, biasKey: "use_bias", biased: true, initializer: 0.018042,
	},
	"nemotron": {
		maxPositions: 4096, activation: "relu2", eps: 1e-5, epsKey: "norm_eps", rotary: 0.5, initializer: 0.0134,
	},
	"falcon": {
		maxPositions: 2048, activation: "gelu", eps: 1e-5, epsKey: "layer_norm_epsilon", tied: true, biasKey: "bias", widening: 4, multiQuery: true,
		parallelKey: "parallel_attn", parallel: true,
		keys:   map[string]string{"intermediate_size": "ffn_hidden_size", "num_key_value_heads": "num_kv_heads", "hidden_act": "activation"},
		tables: Tables{"transformer.word_embeddings", "lm_head"},
	},
	"gpt2": {
		maxPositions: 1024, activation: "gelu_new", eps: 1e-5, epsKey: "layer_norm_epsilon", tied: true, widening: 4, allHeads: true, alwaysBiased: true,
		keys:   map[string]string{"intermediate_size": "n_inner", "hidden_act": "activation_function"},
		either: map[string]string{"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "max_position_embeddings": "n_positions"},
		tables: Tables{"transformer.wte", "lm_head"}, conv1D: []string{"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}, buffers: []string{".attn.bias", ".attn.masked_bias"},
	},
	"glm4_moe": {
		maxPositions: 131072, kvHeads: 8, modern: true, noOutBias: true, eps: 1e-5, rotary: 0.5, qkNormKey: "use_qk_norm", nextLayers: true,
		moe: moeDefaults{
			countKey: routedExperts, experts: 128, perToken: 8, intermediate: 1408, normalizes: true, scaling: 1, groups: 1, sharedCount: 1, firstDense: 1, noAux: true,
		},
	},
	"glm4_moe_lite": {
		maxPositions: 202752, kvHeads: 20, modern: true, eps: 1e-5, nextLayers: true, latent: &LatentConfig{QueryRank: 768, Rank: 512, PlainDim: 192, RotaryDim: 64, ValueDim: 256},
		moe: moeDefaults{
			countKey: routedExperts, experts: 64, perToken: 4, intermediate: 1536, normalizes: true, scaling: 1.8, groups: 1, sharedCount: 1, firstDense: 1, listed: true, noAux: true,
		},
	},
	"deepseek_v3": {
		maxPositions: 4096, kvHeads: 128, modern: true, nextLayers: true, latent: &LatentConfig{QueryRank: 1536, Rank: 512, PlainDim: 128, RotaryDim: 64, ValueDim: 128},
		moe: moeDefaults{
			countKey: routedExperts, experts: 256, perToken: 8, intermediate: 2048, normalizes: true, scaling: 2.5, groups: 8, topGroups: 4, sharedCount: 1, firstDense: 3, noAux: true,
		},
	},
	"youtu": {
		maxPositions: 131072, kvHeads: 16, modern: true, tied: true, latent: &LatentConfig{QueryRank: 1536, Rank: 512, PlainDim: 128, RotaryDim: 64, ValueDim: 128},
	},
	"ernie4_5_moe": {
		maxPositions: 131072, kvHeads: 4, modern: true, tied: true, eps: 1e-5, theta: 5e5, biasKey: "use_bias", unread: []string{"model.mtp_"},
		keys: map[string]string{"num_experts_per_tok": "moe_k"},
		moe:  moeDefaults{countKey: "moe_num_experts", experts: 64, perToken: 6, intermediate: 1536, normalize: true, floor: 1e-12, spans: true},
	},
	"gpt_oss": {
		maxPositions: 131072, kvHeads: 8, headDim: 64, slidingWindow: 128, windowPattern: 2, eps: 1e-5, theta: 150000, modern: true, allBiased: true, rope: gptOssRope,
		moe: moeDefaults{countKey: localExperts, experts: 128, perToken: 4, normalize: true, clamped: true},
	},
	"llama4_text": {
		maxPositions: 131072, kvHeads: 8, headDim: 128, modern: true, eps: 1e-5, theta: 5e5, noRopeEvery: 4, chunks: 8192, qkNormKey: "use_qk_norm", qkNorm: true,
		moe: moeDefaults{countKey: localExperts, experts: 16, perToken: 1, every: 1, noAux: true},
	},
	"minimax_m2": {
		maxPositions: 196608, kvHeads: 8, headDim: 128, theta: 5e6,
		moe: moeDefaults{countKey: localExperts, experts: 256, perToken: 8, normalize: true},
	},
	"exaone4": {maxPositions: 2048, kvHeads: 32, slidingWindow: 4096, windowPattern: 4, eps: 1e-5, windowRope: true},
	"glm":     {maxPositions: 131072, kvHeads: 2, headDim: 128, attentionBias: true, eps: 1.5625e-7, rotary: 0.5},
	"glm4":    {maxPositions: 131072, kvHeads: 2, headDim: 128, attentionBias: true, eps: 1.5625e-7, rotary: 0.5},
	// Language models of multimodal models.
	"glm4v_text":      {maxPositions: 32768, kvHeads: 2, qkvBias: true, eps: 1e-5},
	"glm_ocr_text":    {maxPositions: 131072, kvHeads: 8, eps: 1e-5},
	"qwen2_vl_text":   {maxPositions: 32768, kvHeads: 8, slidingWindow: 4096, windowSwitch: true, qkvBias: true, eps: 1e-5, theta: 1e6},
	"qwen2_5_vl_text": {maxPositions: 32768, kvHeads: 8, slidingWindow: 4096, windowSwitch: true, qkvBias: true, eps: 1e-5, theta: 1e6},
	"qwen3_vl_text":   {maxPositions: 128000, kvHeads: 32, headDim: 128, theta: 5e5},
	"mixtral": {
		maxPositions: 131072, kvHeads: 8, eps: 1e-5, theta: 1e6,
		moe: moeDefaults{countKey: localExperts, experts: 8, perToken: 2, normalize: true},
	},
	"lfm2": {
		maxPositions: 128000, kvHeads: 8, intermediate: 12288, eps: 1e-5, epsKey: "norm_eps", theta: 1e6, tied: true, adjusted: true,
		either: map[string]string{"intermediate_size": "block_ff_dim", "tie_word_embeddings": "tie_embedding"},
		mixer:  mixerDefaults{kind: "conv"},
	},
	"qwen3_next": {
		maxPositions: 32768, kvHeads: 2, headDim: 256, rotary: 0.25, intermediate: 5632, unread: []string{"mtp."}, mixer: deltaNet,
		moe: moeDefaults{countKey: "num_experts", experts: 512, perToken: 10, intermediate: 512, shared: 512, normalizes: true},
	},
	"qwen3_5_text": {
		maxPositions: 32768, kvHeads: 4, headDim: 256, rotary: 0.25, intermediate: 12288, unread: []string{"mtp."}, mixer: deltaNet,
	},
	"qwen3_5_moe_text": {
		maxPositions: 32768, kvHeads: 2, headDim: 256, rotary: 0.25, intermediate: 512, unread: []string{"mtp."}, mixer: deltaNet,
		moe: moeDefaults{countKey: "num_experts", experts: 256, perToken: 8, intermediate: 512, shared: 512, normalize: true, everyLayer: true},
	},
	"qwen2_moe": {
		maxPositions: 32768, kvHeads: 16, slidingWindow: 4096, windowSwitch: true,
		moe: moeDefaults{countKey: "num_experts", experts: 60, perToken: 4, intermediate: 1408, shared: 5632},
	},
	"qwen3_moe": {
		maxPositions: 32768, kvHeads: 4, slidingWindow: 4096, windowSwitch: true, windowEvery: true,
		moe: moeDefaults{countKey: "num_experts", experts: 128, perToken: 8, intermediate: 768},
	},
}
