package decoder

import (
	"fmt"
	"math"
	"strings"

	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/model/checkpoint"
)

// Config is the shape of a decoder and its hyperparameters.
type Config struct {
	ModelType    string                 // a key of families
	Multimodal   *checkpoint.Multimodal `json:",omitempty"` // the multimodal model whose language model this is; nil: a text model
	Vocab        int
	Hidden       int
	Intermediate int // of the MLP
	Layers       int
	Heads        int // of queries
	KVHeads      int // of keys and values; divides Heads
	HeadDim      int

	Eps            float32 // of the norms
	AttentionScale float32 // of q·k
	Window         []int   // per layer: the sliding window in tokens, the token itself included; 0 = full attention
	Tied           bool    // the head is the embeddings

	QKVBias, OutBias, MLPBias bool

	RopeTheta     float64
	Rope          rope.Scaling
	RotaryDim     int     // rotated elements of a head (partial rotary embedding); 0 = HeadDim
	RopeLocalBase float64 // rope theta of the layers with a window, without scaling; 0 = the other layers'
	LocalRotary   int     `json:",omitempty"` // rotated elements of their heads; 0 = RotaryDim
	MaxPositions  int

	EmbedScale, ResidualScale, LogitScale float32 // 0 = 1
	AttnSoftCap, LogitSoftCap             float32 // 0 = none

	Shapes                       []checkpoint.LayerConfig `json:",omitempty"` // per layer; nil = all have HeadDim, KVHeads and Intermediate
	PerLayerInput, PerLayerVocab int                      `json:",omitempty"` // per-layer embeddings: their width and the rows of their table; 0 = none

	NoRope []bool `json:",omitempty"` // per layer: it has no rotary embedding; nil = all layers have

	MoE    MoE
	Sparse []bool // per layer: its MLP is a mixture of experts; nil = in no layer

	Parallel   bool   `json:",omitempty"` // attention and MLP both read the layer's input
	TwoNorms   bool   `json:",omitempty"` // with Parallel: attention and MLP have a norm each; only for families where folders differ
	QKNorm     bool   `json:",omitempty"` // queries and keys are normalised per head; only for families where folders differ
	Activation string `json:",omitempty"` // of a plain MLP; "" = the family's

	QueryGrowth rope.Growth `json:",omitzero"`  // factor of queries that grows with the position
	ClipQKV     float32     `json:",omitempty"` // queries, keys and values are clipped to ±ClipQKV; 0 = not

	Recurrent []bool      `json:",omitempty"` // per layer: a gated delta rule (Linear) or a short convolution instead of attention; nil = attention in all
	Linear    DeltaRule   `json:",omitzero"`  // zero: recurrent layers are short convolutions
	ConvWidth int         `json:",omitempty"` // kernel size of the convolution, in tokens
	ConvBias  bool        `json:",omitempty"` // the short convolution and its projections have biases
	Latent    Latent      `json:",omitzero"`  // multi-head latent attention
	Chunk     []int       `json:",omitempty"` // per layer: chunked attention, the tokens of a chunk; 0 = full; nil = full in all layers
	Growth    rope.Growth `json:",omitzero"`  // as QueryGrowth, of the layers without rotary embedding

	// Dropout names dropout settings of the folder that training does not apply.
	Dropout string `json:",omitempty"`

	Padding          Padding
	InitializerRange float64 // standard deviation of Init
}

// Padding is config.json's pad_token_id. Its embedding gets no gradient, whatever the
// token is used for: transformers gives it to torch as padding_idx.
type Padding struct {
	Given bool
	ID    int32
}

// DeltaRule is the shape of a gated delta rule (linear attention).
type DeltaRule struct {
	KeyHeads, ValueHeads int // KeyHeads divides ValueHeads
	KeyDim, ValueDim     int // of a head
}

// readConfig reads dir/config.json and refuses what the decoder does not compute.
func readConfig(dir string) (Config, error) {
	c, err := checkpoint.ReadModelConfig(dir)
	if c != nil && c.ModelType != "" && families[c.ModelType].architecture == "" { // reported first: the keys of another model type are different, and errors about missing ones would mislead
		err = fmt.Errorf("%s: %w", c.Path, checkSupported(c))
	}
	if err != nil {
		return Config{}, err
	}
	return fromCheckpoint(c)
}

func fromCheckpoint(c *checkpoint.ModelConfig) (Config, error) {
	if err := checkSupported(c); err != nil {
		return Config{}, fmt.Errorf("%s: %w", c.Path, err)
	}
	out := Config{
		ModelType: c.ModelType, Multimodal: c.Multimodal, Vocab: c.VocabSize, Hidden: c.HiddenSize, Intermediate: c.IntermediateSize,
		Layers: c.NumHiddenLayers, Heads: c.NumAttentionHeads, KVHeads: c.NumKeyValueHeads, HeadDim: c.HeadDim,
		Eps: float32(c.RMSNormEps), AttentionScale: attentionScale(c.HeadDim), Tied: c.TieWordEmbeddings,
		QKVBias: c.QKVBias, OutBias: c.OutputBias, MLPBias: c.MLPBias,
		RopeTheta: c.RopeTheta, Rope: scaling(c.RopeScaling), RotaryDim: c.RotaryDim, RopeLocalBase: c.RopeLocalBase, LocalRotary: c.LocalRotary,
		Shapes: c.Layers, PerLayerInput: c.PerLayerInput, PerLayerVocab: c.PerLayerVocab,
		MaxPositions: c.MaxPositionEmbeddings, InitializerRange: c.InitializerRange,
		AttnSoftCap: float32(c.AttnSoftCap), LogitSoftCap: float32(c.FinalSoftCap),
		NoRope: c.NoRope, ClipQKV: float32(c.ClipQKV),
		Parallel: c.Parallel, TwoNorms: c.TwoNorms, QKNorm: c.QKNorm,
		Recurrent: c.Recurrent, ConvWidth: c.ConvWidth, ConvBias: c.ConvBias,
	}
	if c.Linear != nil {
		out.Linear = DeltaRule(*c.Linear)
	}
	if families[c.ModelType].plainMLP.up != "" && c.HiddenAct != families[c.ModelType].activation {
		out.Activation = c.HiddenAct
	}
	if id := c.PadTokenID; id >= 0 && id < c.VocabSize && !families[c.ModelType].everyRow {
		out.Padding = Padding{true, int32(id)}
	}
	if s := c.RopeScaling; s != nil && s.QueryBeta > 0 {
		out.QueryGrowth = rope.Growth{Beta: s.QueryBeta, Every: s.OriginalMaxPositionEmbeddings}
	}
	if families[c.ModelType].dropout {
		out.Dropout = dropouts(c)
	}
	out.factors(c)
	out.mixtures(c)
	out.latent(c)
	out.chunks(c)
	for i := range out.Layers {
		out.Window = append(out.Window, c.Window(i))
	}
	return out, nil
}

// dropouts are the dropout rates inside the layers, by their keys in config.json.
func dropouts(c *checkpoint.ModelConfig) string {
	var said []string
	for _, key := range []string{
		"attention_dropout", "residual_dropout", "hidden_dropout", "embedding_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop",
	} {
		if v, ok := c.Value(key); ok && v != nil && strings.Trim(fmt.Sprint(v), "0.") != "" {
			said = append(said, fmt.Sprintf("%s %v", key, v))
		}
	}
	return strings.Join(said, ", ")
}

// factors sets the multipliers that some families have.
func (c *Config) factors(from *checkpoint.ModelConfig) {
	if families[c.ModelType].embedScale {
		c.EmbedScale = float32(math.Sqrt(float64(c.Hidden)))
	}
	if s := from.QueryPreAttnScalar; s > 0 {
		c.AttentionScale = float32(1 / math.Sqrt(s))
	}
	c.LogitScale = float32(from.LogitScale)
	if from.LogitsScaling != 0 { // granite
		c.EmbedScale, c.ResidualScale = float32(from.EmbeddingMultiplier), float32(from.ResidualMultiplier)
		c.AttentionScale, c.LogitScale = float32(from.AttentionMultiplier), float32(1/from.LogitsScaling)
	}
}

// latent sets the shape of latent attention, whose scores rope scaling changes as well.
func (c *Config) latent(from *checkpoint.ModelConfig) {
	l := from.Latent
	if l == nil {
		return
	}
	c.Latent = Latent{QueryRank: l.QueryRank, Rank: l.Rank, PlainDim: l.PlainDim, RotaryDim: l.RotaryDim, ValueDim: l.ValueDim, Halves: l.Halves}
	if s := from.RopeScaling; s != nil && s.MScaleAllDim != 0 && s.Factor > 1 {
		m := 0.1*s.MScaleAllDim*math.Log(s.Factor) + 1
		c.AttentionScale = float32(m * m / math.Sqrt(float64(c.HeadDim)))
	}
}

// chunks sets llama4's chunked attention, and the growth of queries without rotary embedding.
func (c *Config) chunks(from *checkpoint.ModelConfig) {
	if from.GrowthScale != 0 {
		c.Growth = rope.Growth{Beta: from.GrowthScale, Every: from.GrowthFloor, First: 1}
	}
	for i := range c.Layers {
		if size := from.Chunk(i); size > 0 || c.Chunk != nil {
			for len(c.Chunk) < i {
				c.Chunk = append(c.Chunk, 0)
			}
			c.Chunk = append(c.Chunk, size)
		}
	}
}

// scaling translates rope_scaling for the kernel, which checks it.
func scaling(s *checkpoint.RopeScaling) rope.Scaling {
	if s == nil {
		return rope.Scaling{}
	}
	return rope.Scaling{
		Type: s.Type, Factor: s.Factor,
		LowFreqFactor: s.LowFreqFactor, HighFreqFactor: s.HighFreqFactor, OriginalMax: s.OriginalMaxPositionEmbeddings,
		AttentionFactor: s.AttentionFactor, BetaFast: s.BetaFast, BetaSlow: s.BetaSlow,
		Share: s.Share, MScale: s.MScale, MScaleAllDim: s.MScaleAllDim, KeepFactor: s.CountsFactor(), Smooth: s.Smooth && s.Type == "yarn",
		ShortFactor: s.ShortFactor, LongFactor: s.LongFactor,
	}
}

// attentionScale is 1/sqrt(headDim), rounded to float32 once.
func attentionScale(headDim int) float32 { return float32(1 / math.Sqrt(float64(headDim))) }

// tables are the modules of the embeddings and the head.
func (c *Config) tables() checkpoint.Tables {
	if c.Multimodal != nil {
		return c.Multimodal.Tables()
	}
	return checkpoint.TablesOf(c.ModelType)
}

// widestHead is the largest HeadDim of any layer.
func (c *Config) widestHead() int {
	widest := c.HeadDim
	for _, s := range c.Shapes {
		widest = max(widest, s.HeadDim)
	}
	return widest
}

// rotary is the number of rotated elements of a head.
func (c *Config) rotary() int {
	if c.RotaryDim == 0 {
		return c.HeadDim
	}
	return c.RotaryDim
}

// sparse reports whether layer i's MLP is a mixture of experts.
func (c *Config) sparse(i int) bool { return i < len(c.Sparse) && c.Sparse[i] }

// recurrent reports whether layer i has a delta rule or a convolution instead of attention.
func (c *Config) recurrent(i int) bool { return i < len(c.Recurrent) && c.Recurrent[i] }
