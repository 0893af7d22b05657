package convert

import (
	"math"

	container "dataflex.dev/dataflex/data/gguf"
)

// fileTypes are general.file_type (llama_ftype of llama.h).
var fileTypes = map[container.Type]uint32{container.F32: 0, container.F16: 1, container.Q8_0: 7, container.BF16: 32}

// add adds a value under a key of the architecture.
func (b *builder) add(key string, value any) {
	b.model.Values = append(b.model.Values, container.Value{Key: b.family.arch + "." + key, Value: value})
}

// number adds an integer.
func (b *builder) number(key string, n int) { b.add(key, uint32(n)) }

// factor adds a float.
func (b *builder) factor(key string, v float64) { b.add(key, float32(v)) }

// values adds the description of the model.
func (b *builder) values() {
	c := b.config
	b.model.Values = append(b.model.Values,
		container.Value{Key: "general.architecture", Value: b.family.arch},
		container.Value{Key: "general.type", Value: "model"},
		container.Value{Key: "general.file_type", Value: fileTypes[b.kind]},
		container.Value{Key: "general.quantization_version", Value: uint32(2)}) // GGML_QNT_VERSION
	b.number("block_count", c.NumHiddenLayers)
	b.number("context_length", c.MaxPositionEmbeddings)
	b.number("embedding_length", c.HiddenSize)
	b.number("feed_forward_length", c.IntermediateSize)
	b.number("attention.head_count", c.NumAttentionHeads)
	b.number("attention.head_count_kv", c.NumKeyValueHeads)
	b.number("attention.key_length", c.HeadDim)
	b.number("attention.value_length", c.HeadDim)
	b.factor("attention.layer_norm_rms_epsilon", c.RMSNormEps)
	b.number("vocab_size", b.shape(embeddings)[0])
	b.number("rope.dimension_count", c.RotaryDim)
	b.factor("rope.freq_base", c.RopeTheta)
	b.scaling()
	b.windows()
	b.multipliers()
	if m := c.MoE; m != nil {
		b.number("expert_count", m.Experts)
		b.number("expert_used_count", m.PerToken)
		b.number("expert_feed_forward_length", m.Intermediate)
		if m.SharedIntermediate > 0 {
			b.number("expert_shared_feed_forward_length", m.SharedIntermediate)
		}
	}
}

// scaling adds the rope scaling.
func (b *builder) scaling() {
	r := b.config.RopeScaling
	if r == nil {
		return
	}
	switch r.Type {
	case "linear":
		b.add("rope.scaling.type", r.Type)
		b.factor("rope.scaling.factor", r.Factor)
	case "yarn":
		b.yarn()
	case "longrope":
		b.add("rope.scaling.type", r.Type)
		b.number("rope.scaling.original_context_length", r.OriginalMaxPositionEmbeddings)
		b.factor("rope.scaling.attn_factor", b.longAttention())
	}
}

func (b *builder) yarn() {
	c, r := b.config, b.config.RopeScaling
	original := r.OriginalMaxPositionEmbeddings
	if original == 0 {
		original = c.MaxPositionEmbeddings
	}
	b.add("rope.scaling.type", r.Type)
	b.factor("rope.scaling.factor", r.Factor)
	b.number("rope.scaling.original_context_length", original)
	if r.AttentionFactor > 0 {
		// llama.cpp also multiplies by a value that it derives from the factor.
		b.factor("rope.scaling.attn_factor", r.AttentionFactor/(0.1*math.Log(r.Factor)+1))
	}
	if r.BetaFast > 0 {
		b.factor("rope.scaling.yarn_beta_fast", r.BetaFast)
	}
	if r.BetaSlow > 0 {
		b.factor("rope.scaling.yarn_beta_slow", r.BetaSlow)
	}
}

// longAttention is the factor by which longrope multiplies sines and cosines (LongRoPE,
// arXiv:2402.13753).
func (b *builder) longAttention() float64 {
	c, r := b.config, b.config.RopeScaling
	if r.AttentionFactor > 0 {
		return r.AttentionFactor
	}
	stretch := float64(c.MaxPositionEmbeddings) / float64(r.OriginalMaxPositionEmbeddings)
	if r.CountsFactor() {
		stretch = r.Factor
	}
	if stretch <= 1 {
		return 1
	}
	return math.Sqrt(1 + math.Log(stretch)/math.Log(float64(r.OriginalMaxPositionEmbeddings)))
}

// windows adds the sliding window; llama.cpp knows which layers of a family have one.
func (b *builder) windows() {
	c := b.config
	if !b.family.windows {
		if b.family.arch == "phi3" {
			b.number("attention.sliding_window", 0) // disables it
		}
		return
	}
	if c.SlidingWindow > 0 {
		b.number("attention.sliding_window", c.SlidingWindow)
	}
	if c.RopeLocalBase > 0 {
		b.factor("rope.freq_base_swa", c.RopeLocalBase)
	}
}

// multipliers adds granite's multipliers, and gemma's soft caps.
func (b *builder) multipliers() {
	c := b.config
	if c.AttnSoftCap > 0 {
		b.factor("attn_logit_softcapping", c.AttnSoftCap)
	}
	if c.FinalSoftCap > 0 {
		b.factor("final_logit_softcapping", c.FinalSoftCap)
	}
	if c.LogitsScaling == 0 {
		return
	}
	b.factor("attention.scale", c.AttentionMultiplier)
	b.factor("embedding_scale", c.EmbeddingMultiplier)
	b.factor("residual_scale", c.ResidualMultiplier)
	b.factor("logit_scale", c.LogitsScaling)
}

// ropeTensors adds the divisors of the frequencies of Llama 3 and of longrope.
func (b *builder) ropeTensors() {
	r := b.config.RopeScaling
	if r == nil {
		return
	}
	switch r.Type {
	case "llama3":
		b.fixed("rope_freqs.weight", llama3(r.Factor, r.LowFreqFactor, r.HighFreqFactor, float64(r.OriginalMaxPositionEmbeddings), b.config.RopeTheta, b.config.RotaryDim))
	case "longrope":
		b.fixed("rope_factors_long.weight", r.LongFactor)
		b.fixed("rope_factors_short.weight", r.ShortFactor)
	}
}

func (b *builder) fixed(name string, numbers []float64) {
	t := Tensor{Name: name, Type: container.F32, Shape: []int{len(numbers)}, Fixed: make([]float32, len(numbers))}
	for i, v := range numbers {
		t.Fixed[i] = float32(v)
	}
	b.model.Tensors = append(b.model.Tensors, t)
}

// llama3 is the divisor of each frequency: 1 for short waves, the factor for long ones, and an
// interpolation in between.
func llama3(factor, low, high, original, theta float64, dim int) []float64 {
	out := make([]float64, dim/2)
	for i := range out {
		length := 2 * math.Pi * math.Pow(theta, 2*float64(i)/float64(dim))
		switch {
		case length < original/high:
			out[i] = 1
		case length > original/low:
			out[i] = factor
		default:
			smooth := (original/length - low) / (high - low)
			out[i] = 1 / ((1-smooth)/factor + smooth)
		}
	}
	return out
}
