package decoder

import (
	"fmt"
	"math"
	"strings"

	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/model/checkpoint"
)

// Config is the shape of a decoder and the numbers that its family leaves open.
type Config struct {
	ModelType    string                 // a row of families
	Multimodal   *checkpoint.Multimodal `json:",omitempty"` // what the decoder is the language model of; nil: it is by itself
	Vocab        int
	Hidden       int
	Intermediate int // of the MLP
	Layers       int
	Heads        int // of queries
	KVHeads      int // of keys and values; divides Heads
	HeadDim      int

	Eps            float32 // of the norms
	AttentionScale float32 // of q·k
	Window         []int   // per layer: tokens a token sees, itself included; 0 = all before it
	Tied           bool    // the head is the embeddings

	QKVBias, OutBias, MLPBias bool

	RopeTheta     float64
	Rope          rope.Scaling
	RotaryDim     int     // elements of a head that are turned; 0 = HeadDim
	RopeLocalBase float64 // theta of the layers with a window, unscaled; 0 = the others'
	LocalRotary   int     `json:",omitempty"` // elements of their heads that are turned; 0 = RotaryDim
	MaxPositions  int

	EmbedScale, ResidualScale, LogitScale float32 // 0 = 1
	AttnSoftCap, LogitSoftCap             float32 // 0 = none

	Shapes                       []checkpoint.LayerConfig `json:",omitempty"` // per layer; nil = all have HeadDim, KVHeads and Intermediate
	PerLayerInput, PerLayerVocab int                      `json:",omitempty"` // width of the inputs that every layer has of its own, and rows of their table; 0 = they have none

	NoRope []bool `json:",omitempty"` // per layer: its queries and keys are not turned; nil = all are

	MoE    MoE
	Sparse []bool // per layer: its MLP is a mixture of experts; nil = none is

	Parallel   bool   `json:",omitempty"` // attention and MLP both read the layer's input
	TwoNorms   bool   `json:",omitempty"` // each of them through a norm of its own, of families that leave it open
	QKNorm     bool   `json:",omitempty"` // heads are normalised, likewise
	Activation string `json:",omitempty"` // of an MLP without a gate; "" = the family's

	QueryGrowth rope.Growth `json:",omitzero"`  // of queries, by position
	ClipQKV     float32     `json:",omitempty"` // bound of queries, keys and values; 0 = none

	Recurrent []bool      `json:",omitempty"` // per layer: it has no attention, but Linear or a short convolution; nil = all have it
	Linear    DeltaRule   `json:",omitzero"`  // its zero value: the convolution alone
	ConvWidth int         `json:",omitempty"` // tokens that the convolution sees
	ConvBias  bool        `json:",omitempty"` // it and the linears around it add biases, where it stands alone
	Latent    Latent      `json:",omitzero"`  // queries, keys and values are made from compressed ones
	Chunk     []int       `json:",omitempty"` // per layer: a token sees those before it in its own piece of so many; 0 = all; nil = every layer all
	Growth    rope.Growth `json:",omitzero"`  // of queries of layers that turn nothing, by position

	// Dropout names what the folder asks for and training does not do.
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

// DeltaRule is the shape of a gated delta rule.
type DeltaRule struct {
	KeyHeads, ValueHeads int // KeyHeads divides ValueHeads
	KeyDim, ValueDim     int // of a head
}

// readConfig reads dir/config.json and refuses what the decoder does not compute.
func readConfig(dir string) (Config, error) {
	c, err := checkpoint.ReadModelConfig(dir)
	if c != nil && c.ModelType != "" && families[c.ModelType].architecture == "" { // whose keys are others: what is missing misleads
		err = fmt.Errorf("%s: %w", c.Path, supported(c))
	}
	if err != nil {
		return Config{}, err
	}
	return fromCheckpoint(c)
}

func fromCheckpoint(c *checkpoint.ModelConfig) (Config, error) {
	if err := supported(c); err != nil {
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

// dropouts are the shares that config.json gives for dropout inside the layers.
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

// factors takes over what some families multiply with.
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

// latent takes over the shape of latent attention, whose scores a stretch of the angles
// scales as well.
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

// chunks takes over llama4's pieces, and its growth of queries that nothing turns.
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

// attentionScale is the usual 1/sqrt(headDim), rounded once.
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

// rotary is the number of a head's elements that are turned.
func (c *Config) rotary() int {
	if c.RotaryDim == 0 {
		return c.HeadDim
	}
	return c.RotaryDim
}

// sparse reports whether layer i's MLP is a mixture of experts.
func (c *Config) sparse(i int) bool { return i < len(c.Sparse) && c.Sparse[i] }

// recurrent reports whether layer i has something else in the place of attention.
func (c *Config) recurrent(i int) bool { return i < len(c.Recurrent) && c.Recurrent[i] }
