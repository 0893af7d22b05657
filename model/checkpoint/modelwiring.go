package checkpoint

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// spelling is the file's spelling of the keys that the family spells differently.
func (d familyDefaults) spelling(raw map[string]any) map[string]string {
	names := maps.Clone(d.keys)
	for key, other := range d.either {
		if names == nil {
			names = map[string]string{}
		}
		if _, given := raw[key]; !given || raw[other] != nil {
			names[key] = other
		}
	}
	return names
}

// keyValueHeads is the number of key and value heads.
func (d familyDefaults) keyValueHeads(f *fields, heads int) int {
	switch {
	case d.allHeads:
		return heads
	case d.multiQuery && !f.bool("new_decoder_architecture", false):
		if f.bool("multi_query", true) {
			return 1
		}
		return heads
	case !present(f, "num_key_value_heads") && d.kvHeads > 0:
		heads = d.kvHeads
	}
	return f.size("num_key_value_heads", heads, maxSize)
}

// readBiases: qwen2's projections have biases that no key disables, qwen2_moe's have a key
// of their own; glm4 has them at q, k and v only.
func (c *ModelConfig) readBiases(f *fields, family familyDefaults) {
	bias := f.bool("attention_bias", family.attentionBias || family.allBiased)
	c.QKVBias, c.OutputBias = bias || family.qkvBias, bias && !family.qkvBias && !family.attentionBias && !family.noOutBias
	c.MLPBias = f.bool("mlp_bias", false)
	if family.outBiasKey != "" {
		c.OutputBias = f.bool(family.outBiasKey, false)
	}
	if family.biasKey != "" {
		all := f.bool(family.biasKey, family.biased)
		c.QKVBias, c.OutputBias, c.MLPBias = all, all, all
	} else if family.biased {
		on := f.bool("attention_bias", true)
		c.QKVBias, c.OutputBias, c.MLPBias = on, on, true
	}
	if family.qkvBiasKey != "" {
		c.QKVBias, c.OutputBias, c.MLPBias = f.bool(family.qkvBiasKey, false), false, false
	}
	if family.alwaysBiased {
		c.QKVBias, c.OutputBias, c.MLPBias = true, true, true
	}
	if c.ModelType == "qwen2_moe" {
		c.QKVBias = f.bool("qkv_bias", true)
	}
}

// readWiring reads how a layer's branches are connected, in families with several ways.
func (c *ModelConfig) readWiring(f *fields, family familyDefaults) {
	if family.parallelKey != "" {
		c.Parallel = f.bool(family.parallelKey, family.parallel)
	}
	if family.qkNormKey != "" {
		c.QKNorm = f.bool(family.qkNormKey, family.qkNorm)
	}
	if !family.multiQuery {
		return
	}
	grouped := f.bool("new_decoder_architecture", false)
	norms := f.int("num_ln_in_parallel_attn", 1)
	if !f.has("num_ln_in_parallel_attn") && grouped {
		norms = 2
	}
	c.TwoNorms = norms == 2
	if grouped && !c.Parallel || c.TwoNorms && !grouped || norms != 1 && norms != 2 {
		f.fail("new_decoder_architecture %v, parallel_attn %v and num_ln_in_parallel_attn %d are not a falcon that transformers supports", grouped, c.Parallel, norms)
	}
	if f.bool("alibi", false) {
		f.fail("alibi is true, which is not supported: positions by rope alone are")
	}
}

// Conv1D reports whether a module of a model type is transformers' Conv1D: a linear layer
// whose weight is stored [in, out].
func Conv1D(modelType, module string) bool {
	return slices.ContainsFunc(families[modelType].conv1D, func(end string) bool { return endsIn(module, end) })
}

// Unread reports whether a tensor in the files of a model type is not part of the model: a
// buffer that older transformers saved although it follows from config.json (masks, rotary
// frequencies), or a part of a head that predicts further tokens, which transformers leaves
// out.
func Unread(modelType, name string) bool {
	family := families[modelType]
	ends := append([]string{".rotary_emb.inv_freq"}, family.buffers...)
	return slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(name, end) }) ||
		slices.ContainsFunc(family.unread, func(beginning string) bool { return strings.HasPrefix(name, beginning) })
}

// Beyond reports whether a tensor in the files of a model type belongs to the layer after
// the last one, which predicts further tokens (num_nextn_predict_layers); transformers also
// leaves it out.
func Beyond(modelType, name string, layers int) bool {
	return families[modelType].nextLayers && strings.HasPrefix(name, fmt.Sprintf("model.layers.%d.", layers))
}

// Transposed is xᵀ [cols, rows] of x [rows, cols]: converts the weight of a Conv1D from and
// to files.
func Transposed(x []float32, rows, cols int) []float32 {
	out := make([]float32, len(x))
	for i := range rows {
		for j := range cols {
			out[j*rows+i] = x[i*cols+j]
		}
	}
	return out
}
