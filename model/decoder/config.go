package decoder

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"dataflex/kernels/rope"
	"dataflex/model/checkpoint"
)

// Config is the shape of a decoder and what its family does differently.
type Config struct {
	ModelType    string
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

	RopeTheta    float64
	Rope         rope.Scaling
	MaxPositions int
}

// family is what one model_type does differently from the others. A new one is a
// row in families and, where it needs something that no family had before, a field
// here that Config takes over and layer reads.
type family struct {
	architecture string // the class in config.json's architectures
	activation   string // hidden_act that the MLP computes
}

// families are the supported model types. Biases, windows, tied heads and the
// defaults of missing keys come from checkpoint.ModelConfig, which knows them by
// model type.
var families = map[string]family{
	"llama":   {architecture: "LlamaForCausalLM", activation: "silu"},
	"mistral": {architecture: "MistralForCausalLM", activation: "silu"},
	"qwen2":   {architecture: "Qwen2ForCausalLM", activation: "silu"},
}

// readConfig reads dir/config.json and refuses what the decoder does not compute.
func readConfig(dir string) (Config, error) {
	c, err := checkpoint.ReadModelConfig(dir)
	if err != nil {
		return Config{}, err
	}
	if err := supported(c); err != nil {
		return Config{}, fmt.Errorf("%s: %w", c.Path, err)
	}
	out := Config{
		ModelType: c.ModelType, Vocab: c.VocabSize, Hidden: c.HiddenSize, Intermediate: c.IntermediateSize,
		Layers: c.NumHiddenLayers, Heads: c.NumAttentionHeads, KVHeads: c.NumKeyValueHeads, HeadDim: c.HeadDim,
		Eps: float32(c.RMSNormEps), AttentionScale: attentionScale(c.HeadDim), Tied: c.TieWordEmbeddings,
		QKVBias: c.QKVBias, OutBias: c.OutputBias, MLPBias: c.MLPBias,
		RopeTheta: c.RopeTheta, Rope: scaling(c.RopeScaling), MaxPositions: c.MaxPositionEmbeddings,
	}
	for i := range out.Layers {
		out.Window = append(out.Window, c.Window(i))
	}
	return out, nil
}

// supported says what stands in the way, if anything does.
func supported(c *checkpoint.ModelConfig) error {
	f, ok := families[c.ModelType]
	if !ok {
		return fmt.Errorf("model_type %q (%s) is not supported; supported are: %s",
			c.ModelType, strings.Join(c.Architectures, ", "), strings.Join(slices.Sorted(maps.Keys(families)), ", "))
	}
	if len(c.Architectures) > 0 && !slices.Contains(c.Architectures, f.architecture) {
		return fmt.Errorf("architectures %v is not supported for model_type %q; supported is: %s", c.Architectures, c.ModelType, f.architecture)
	}
	if c.HiddenAct != f.activation {
		return fmt.Errorf("hidden_act %q is not supported for model_type %q; supported is: %s", c.HiddenAct, c.ModelType, f.activation)
	}
	if c.AttentionDropout != 0 {
		return fmt.Errorf("attention_dropout %g is not supported; set it to 0", c.AttentionDropout)
	}
	return nil
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
		MScale: s.MScale, MScaleAllDim: s.MScaleAllDim,
	}
}
