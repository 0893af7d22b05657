package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
)

// ModelConfig is a Hugging Face config.json. Missing keys have the values that transformers
// 4.52 gives them for the model type; unknown keys are kept and written back.
type ModelConfig struct {
	Path          string // of config.json, for messages
	ModelType     string // llama, qwen2, mistral, …
	Architectures []string
	Multimodal    *Multimodal // the multimodal model that it is the language model of; nil: a text model

	HiddenSize            int
	IntermediateSize      int
	NumHiddenLayers       int
	NumAttentionHeads     int
	NumKeyValueHeads      int // divides NumAttentionHeads
	HeadDim               int // HiddenSize / NumAttentionHeads unless given
	VocabSize             int
	MaxPositionEmbeddings int

	HiddenAct         string // silu, gelu_pytorch_tanh, …
	RMSNormEps        float64
	InitializerRange  float64
	TieWordEmbeddings bool
	QKVBias           bool // q_proj, k_proj and v_proj have biases
	OutputBias        bool // o_proj has a bias
	MLPBias           bool // gate_proj, up_proj and down_proj have biases
	Parallel          bool // attention and MLP both read the layer's input
	TwoNorms          bool // falcon: attention and MLP each have a norm of it
	QKNorm            bool // queries and keys are normalised, in families where folders differ
	AttentionDropout  float64

	RopeTheta     float64
	RopeScaling   *RopeScaling // nil: no scaling
	RotaryDim     int          // elements of a head with rotary embedding
	RopeLocalBase float64      // gemma3: rope_theta of the layers with a sliding window
	LocalRotary   int          // gemma4: elements with rotary embedding in the heads of layers with a sliding window; 0: RotaryDim

	SlidingWindow   int      // sliding window in tokens, the token itself included; 0: full attention. Use Window
	MaxWindowLayers int      // qwen2: the first MaxWindowLayers layers have full attention
	WindowPattern   int      // gemma: the last of every WindowPattern layers has full attention; 0: none has
	NoRope          []bool   // per layer: it has no rotary embedding; nil: all layers have
	LayerTypes      []string // newer files, per layer: full_attention, sliding_attention or a name of the family's own

	Recurrent []bool           // per layer: it has Linear or a short convolution instead of attention; nil: all layers have attention
	Linear    *LinearAttention // nil: recurrent layers are short convolutions
	ConvWidth int              // kernel size of the convolution, in tokens
	ConvBias  bool             // lfm2: the convolution and the linear layers around it have biases

	QueryPreAttnScalar float64 // gemma: attention scores are scaled by 1/sqrt of it; 0: of HeadDim
	AttnSoftCap        float64 // gemma2: soft cap of attention scores; 0: none
	FinalSoftCap       float64 // gemma2: soft cap of logits; 0: none
	LogitScale         float64 // cohere: logits are multiplied by it; 0: not
	ClipQKV            float64 // olmo: queries, keys and values are clipped to ±ClipQKV; 0: not

	// granite's multipliers; 0: not given.
	EmbeddingMultiplier, AttentionMultiplier, ResidualMultiplier, LogitsScaling float64

	MoE    *MoEConfig    // nil: every MLP is dense
	Latent *LatentConfig // nil: queries, keys and values are not compressed

	// llama4: chunked attention (use Chunk), and the temperature of queries in layers without
	// rotary embedding, which grows with the position.
	ChunkSize   int
	GrowthScale float64 // attn_scale; 0: no temperature
	GrowthFloor int     // floor_scale

	Layers                       []LayerConfig // what differs between layers; nil: nothing
	PerLayerInput, PerLayerVocab int           // gemma4's per-layer embeddings: their width and the rows of their table; 0: none

	TorchDType  string // of the stored weights; "": not given
	BOSTokenID  int    // -1: none
	EOSTokenIDs []int  // usually one; empty: none
	PadTokenID  int    // -1: none

	raw  map[string]any // the whole file
	text map[string]any // of the language model: raw, or a part of it
	file []byte         // the file's bytes, for a multimodal model in which Set has changed nothing
}

// ReadModelConfig reads dir/config.json, or the equivalent values of a GGUF file. Errors name
// the file and the key. It reads any model type: the decoder decides which ones it supports.
func ReadModelConfig(dir string) (*ModelConfig, error) {
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	f, err := configFields(dir)
	if errors.Is(err, fs.ErrNotExist) && storage.Exists(filepath.Join(dir, storage.AdapterConfigFile)) {
		return nil, fmt.Errorf("%s holds an adapter, not a model: give it as adapter_name_or_path and the base model as model_name_or_path: %w", dir, err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if files, _ := storage.Match(dir, "*.gguf"); len(files) > 0 {
			return nil, fmt.Errorf("%s: no config.json, but GGUF files: name the one to read, for example %s: %w", dir, files[0], err)
		}
		return nil, fmt.Errorf("%s: no config.json: not a Hugging Face model folder: %w", dir, err)
	}
	if err != nil {
		return nil, err
	}
	c := &ModelConfig{Path: f.path, raw: f.raw, text: f.raw}
	if f, c.Multimodal = languageModel(f); c.Multimodal != nil {
		if err := c.keepFile(); err != nil {
			return nil, err
		}
	}
	if c.ModelType = f.string("model_type", ""); c.ModelType == "" {
		f.fail("model_type is missing")
	}
	readQuantisation(f)
	forgetQuantisation(f)
	family := families[c.ModelType]
	f = family.fill(f)
	f.renamed = family.spelling(f.raw)
	c.readSizes(f, family)
	c.adjustWidth(f, family)
	c.readLatent(f, family)
	c.readBlocks(f, family)
	c.readWiring(f, family)
	c.readWindow(f, family)
	c.readMixers(f, family)
	c.readNoRope(f, family)
	c.readChunks(f, family)
	c.readScales(f, family)
	c.readMoE(f, family)
	c.readTokens(f)
	c.readLayers(f, family)
	c.readRope(f, family)
	return c, f.err
}

func (c *ModelConfig) readSizes(f *fields, family familyDefaults) {
	c.HiddenSize = f.size("hidden_size", 0, maxSize)
	c.IntermediateSize = f.size("intermediate_size", cmp.Or(family.intermediate, family.widening*c.HiddenSize), maxSize)
	c.NumHiddenLayers = f.size("num_hidden_layers", 0, maxLayers)
	c.NumAttentionHeads = f.size("num_attention_heads", 0, maxSize)
	c.VocabSize = f.size("vocab_size", 0, maxSize)
	c.MaxPositionEmbeddings = f.size("max_position_embeddings", max(family.maxPositions, 2048), maxTokens)

	c.NumKeyValueHeads = family.keyValueHeads(f, c.NumAttentionHeads)
	if c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		f.fail("num_attention_heads %d is not a multiple of num_key_value_heads %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	}
	if !f.has("head_dim") && family.headDim == 0 && family.latent == nil && c.HiddenSize%c.NumAttentionHeads != 0 {
		f.fail("hidden_size %d is not a multiple of num_attention_heads %d and head_dim is not given", c.HiddenSize, c.NumAttentionHeads)
	}
	if !f.has("head_dim") && family.headDim > 0 && !present(f, "head_dim") {
		c.HeadDim = family.headDim
		return
	}
	c.HeadDim = f.size("head_dim", max(1, c.HiddenSize/c.NumAttentionHeads), maxSize)
}

func (c *ModelConfig) readBlocks(f *fields, family familyDefaults) {
	c.Architectures = f.strings("architectures")
	c.HiddenAct = f.string("hidden_activation", f.string("hidden_act", cmp.Or(family.activation, "silu")))
	c.RMSNormEps = f.float(cmp.Or(family.epsKey, "rms_norm_eps"), cmp.Or(family.eps, 1e-6))
	if c.RMSNormEps < 0 {
		f.fail("%s is %v, want at least 0", cmp.Or(family.epsKey, "rms_norm_eps"), c.RMSNormEps)
	}
	c.InitializerRange = f.float("initializer_range", cmp.Or(family.initializer, 0.02))
	c.TieWordEmbeddings = f.bool("tie_word_embeddings", family.tied)
	c.readBiases(f, family)
	c.AttentionDropout = f.float("attention_dropout", 0)
	c.TorchDType = f.string("torch_dtype", f.string("dtype", ""))
}

const (
	slidingAttention = "sliding_attention"
	chunkedAttention = "chunked_attention"
)

func (c *ModelConfig) readWindow(f *fields, family familyDefaults) {
	c.SlidingWindow = family.slidingWindow
	if _, present := f.raw["sliding_window"]; present {
		c.SlidingWindow = f.int("sliding_window", 0)
	}
	if c.SlidingWindow < 0 {
		f.fail("sliding_window is %d, want at least 1 or null", c.SlidingWindow)
	}
	// Only the qwen families have use_sliding_window, and it is false by default.
	if family.windowSwitch || f.has("use_sliding_window") {
		before := 28
		if family.windowEvery {
			before = 0
		}
		c.MaxWindowLayers = f.int("max_window_layers", before)
		if listed := family.noRopeEvery > 0 && f.has("layer_types"); !listed && !f.bool("use_sliding_window", false) { // smollm3: the list of layer types alone decides
			c.SlidingWindow = 0
		}
	}
	if text, ok := f.raw["sliding_window_pattern"].(string); ok { // exaone4: LLLG
		c.WindowPattern = len(text)
	} else {
		c.WindowPattern = f.int("sliding_window_pattern", family.windowPattern)
	}
	if !f.has("layer_types") {
		return
	}
	if c.LayerTypes = f.strings("layer_types"); len(c.LayerTypes) != c.NumHiddenLayers {
		f.fail("layer_types has %d entries, num_hidden_layers is %d", len(c.LayerTypes), c.NumHiddenLayers)
	}
	for _, kind := range c.LayerTypes {
		other := cmp.Or(family.mixer.kind, slidingAttention)
		if family.chunks > 0 {
			other = chunkedAttention
		}
		if kind != "full_attention" && kind != other {
			f.fail("layer_types holds %q, want full_attention or %s", kind, other)
		}
	}
}

// readNoRope reads which layers have no rotary embedding (NoPE, arXiv:2501.18795).
func (c *ModelConfig) readNoRope(f *fields, family familyDefaults) {
	if family.noRopeEvery > 0 && c.SlidingWindow > 0 && c.LayerTypes == nil {
		defer c.windowNoRope()
	}
	switch {
	case family.noRopeEvery > 0 && f.has("no_rope_layers") && !(family.chunks > 0 && len(f.ints("no_rope_layers")) == 0): // llama4: [] means none
		turned := f.ints("no_rope_layers")
		if len(turned) != c.NumHiddenLayers {
			f.fail("no_rope_layers has %d entries, num_hidden_layers is %d", len(turned), c.NumHiddenLayers)
		}
		for _, t := range turned {
			c.NoRope = append(c.NoRope, t == 0)
		}
	case family.noRopeEvery > 0:
		every := f.size("no_rope_layer_interval", family.noRopeEvery, maxLayers)
		for i := range c.NumHiddenLayers {
			c.NoRope = append(c.NoRope, (i+1)%every == 0)
		}
	case family.windowRope && c.SlidingWindow > 0:
		for i := range c.NumHiddenLayers {
			c.NoRope = append(c.NoRope, c.Window(i) == 0)
		}
	}
}

// readChunks reads llama4's chunk size, and the temperature of queries in layers without rotary
// embedding.
func (c *ModelConfig) readChunks(f *fields, family familyDefaults) {
	if family.chunks == 0 {
		return
	}
	if c.ChunkSize = family.chunks; present(f, "attention_chunk_size") {
		if c.ChunkSize = 0; f.has("attention_chunk_size") {
			c.ChunkSize = f.size("attention_chunk_size", family.chunks, maxTokens)
		}
	}
	tuned := true
	switch v := f.raw["attn_temperature_tuning"].(type) {
	case int: // in the first files
		tuned = v != 0
	default:
		tuned = f.bool("attn_temperature_tuning", true)
	}
	if tuned {
		c.GrowthScale, c.GrowthFloor = f.float("attn_scale", 0.1), f.size("floor_scale", 8192, maxTokens)
	}
}

// windowNoRope gives the sliding window to the layers without rotary embedding only.
func (c *ModelConfig) windowNoRope() {
	for _, free := range c.NoRope {
		kind := "full_attention"
		if free {
			kind = slidingAttention
		}
		c.LayerTypes = append(c.LayerTypes, kind)
	}
}

// readScales reads the multipliers that some families have between the layers.
func (c *ModelConfig) readScales(f *fields, family familyDefaults) {
	c.QueryPreAttnScalar = f.float("query_pre_attn_scalar", family.queryScalar)
	c.AttnSoftCap = optional(f, "attn_logit_softcapping", family.attnSoftCap)
	c.FinalSoftCap = optional(f, "final_logit_softcapping", family.finalSoftCap)
	if family.logitScale > 0 {
		if c.LogitScale = f.float("logit_scale", family.logitScale); c.LogitScale == 0 {
			f.fail("logit_scale is 0")
		}
	}
	if f.has("clip_qkv") {
		if c.ClipQKV = f.float("clip_qkv", 0); c.ClipQKV <= 0 {
			f.fail("clip_qkv is %v, want more than 0 or null", c.ClipQKV)
		}
	}
	if c.QueryPreAttnScalar < 0 || c.AttnSoftCap < 0 || c.FinalSoftCap < 0 {
		f.fail("query_pre_attn_scalar, attn_logit_softcapping or final_logit_softcapping is negative")
	}
	if !f.bool("scale_attn_weights", true) { // gpt2
		c.QueryPreAttnScalar = 1
	}
	if f.bool("scale_attn_by_inverse_layer_idx", false) {
		f.fail("scale_attn_by_inverse_layer_idx is true, which is not supported")
	}
	if !family.multipliers {
		return
	}
	c.EmbeddingMultiplier = f.float("embedding_multiplier", 1)
	c.AttentionMultiplier = f.float("attention_multiplier", 1)
	c.ResidualMultiplier = f.float("residual_multiplier", 1)
	if c.LogitsScaling = f.float("logits_scaling", 1); c.LogitsScaling == 0 {
		f.fail("logits_scaling is 0")
	}
}

// present reports whether the file has a key, null or not.
func present(f *fields, key string) bool { _, ok := f.raw[f.spelled(key)]; return ok }

// optional reads a number that null disables.
func optional(f *fields, key string, def float64) float64 {
	if present(f, key) {
		def = 0
	}
	return f.float(key, def)
}

// readTokens reads token ids, each of which may be a number, a list or null.
func (c *ModelConfig) readTokens(f *fields) {
	c.BOSTokenID = f.int("bos_token_id", -1)
	c.PadTokenID = f.int("pad_token_id", -1)
	list, isList := f.raw["eos_token_id"].([]any)
	if !isList {
		if f.has("eos_token_id") {
			c.EOSTokenIDs = []int{f.int("eos_token_id", 0)}
		}
		return
	}
	for _, v := range list {
		one := &fields{path: f.path, raw: map[string]any{"eos_token_id": v}}
		c.EOSTokenIDs = append(c.EOSTokenIDs, one.int("eos_token_id", 0))
		if one.err != nil && f.err == nil {
			f.err = one.err
		}
	}
}

// Window returns the sliding window of a layer in tokens, the token itself included; 0 = full
// attention.
func (c *ModelConfig) Window(layer int) int {
	switch {
	case layer < len(c.LayerTypes):
		if c.LayerTypes[layer] != slidingAttention {
			return 0
		}
	case layer < c.MaxWindowLayers, c.WindowPattern > 0 && (layer+1)%c.WindowPattern == 0:
		return 0
	}
	return c.SlidingWindow
}

// Chunk returns the number of tokens in a chunk of a layer's attention, outside of which it
// does not attend; 0 = no chunks.
func (c *ModelConfig) Chunk(layer int) int {
	chunked := layer < len(c.NoRope) && !c.NoRope[layer]
	if layer < len(c.LayerTypes) {
		chunked = c.LayerTypes[layer] == chunkedAttention
	}
	if !chunked {
		return 0
	}
	return c.ChunkSize
}

// Value returns any key of the language model in config.json as it was parsed: numbers are int,
// float64 or, if they are too large for these, pyjson.Number.
func (c *ModelConfig) Value(key string) (any, bool) {
	v, ok := c.text[key]
	return v, ok
}

// Set changes a key of the language model in what WriteModelConfig writes. value may be
// anything that pyjson.Encode takes.
func (c *ModelConfig) Set(key string, value any) {
	c.text[key], c.file = value, nil
	if _, there := c.raw[key]; there || key == "tie_word_embeddings" { // transformers 5 reads it from the top level
		c.raw[key] = value
	}
}

// SetDType sets the type of the stored weights ("float32", "bfloat16").
func (c *ModelConfig) SetDType(name string) {
	key := "torch_dtype"
	if _, modern := c.raw["dtype"]; modern {
		key = "dtype"
	}
	c.Set(key, name)
}

// Text returns config.json with the changes of Set, its keys sorted. For a multimodal model
// without changes it is the file byte for byte.
func (c *ModelConfig) Text() []byte {
	if c.file != nil {
		return c.file
	}
	return append(formatJSON(c.raw, 2), '\n')
}

// WriteModelConfig writes dir/config.json with all keys that were read, sorted, as transformers
// saves it after training: use_cache is false, and torch_dtype is that of the weights
// ("float32", "bfloat16"). A multimodal model's is not changed in this way, because it also
// describes the towers.
func WriteModelConfig(dir string, c *ModelConfig, torchDType string) error {
	if c.Multimodal == nil {
		c.Set("use_cache", false)
		c.SetDType(torchDType)
	}
	return storage.WriteFile(filepath.Join(dir, storage.ConfigFile), c.Text())
}
