package checkpoint

import (
	"maps"
	"slices"
	"strconv"
)

// LayerConfig is what differs between layers, in families that allow it (gemma4).
type LayerConfig struct {
	HeadDim, KVHeads int
	Intermediate     int  // width of the MLP
	KeysOf           int  // the layer whose keys and values it reads: itself, or an earlier one
	KeysAreValues    bool // values are the keys before they are normalised and rotated
}

// fill adds to a gemma4's config.json what its class adds: two kinds of positions, and full
// attention in the last layer. It does not change other families' files.
func (d familyDefaults) fill(f *fields) *fields {
	if !d.ownLayers {
		return f
	}
	g := &fields{path: f.path, raw: maps.Clone(f.raw), renamed: f.renamed, err: f.err}
	if !f.has("rope_parameters") {
		g.raw["rope_parameters"] = map[string]any{
			"full_attention": map[string]any{"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": d.theta},
			slidingAttention: map[string]any{"rope_type": "default", "rope_theta": d.localTheta},
		}
	}
	if kinds, ok := f.raw["layer_types"].([]any); ok && len(kinds) > 0 {
		kinds = slices.Clone(kinds)
		kinds[len(kinds)-1] = "full_attention"
		g.raw["layer_types"] = kinds
	} else if n, layers := f.raw["num_hidden_layers"].(int); layers && n > 0 && n <= maxLayers {
		for i := range n {
			kind := any(slidingAttention)
			if (i+1)%d.windowPattern == 0 || i == n-1 {
				kind = "full_attention"
			}
			kinds = append(kinds, kind)
		}
		g.raw["layer_types"] = kinds
	}
	return g
}

// readLayers reads what differs between a family's layers, and the inputs that each layer
// has of its own.
func (c *ModelConfig) readLayers(f *fields, family familyDefaults) {
	if !family.ownLayers || f.err != nil {
		return
	}
	if way := f.string("use_bidirectional_attention", ""); way != "" && way != "vision" {
		f.fail("use_bidirectional_attention is %q, but here attention is always causal", way)
	}
	if f.bool("enable_moe_block", false) {
		c.MoE = &MoEConfig{
			Experts: f.size("num_experts", 0, maxSize>>8), PerToken: f.size("top_k_experts", 0, maxSize>>8),
			Intermediate: f.size("moe_intermediate_size", 0, maxSize), Normalize: true, Layers: make([]bool, c.NumHiddenLayers), // beside the MLPs, not in their place
		}
		if c.MoE.PerToken > c.MoE.Experts {
			f.fail("top_k_experts is %d, num_experts %d", c.MoE.PerToken, c.MoE.Experts)
		}
	}
	for range c.NumHiddenLayers {
		c.Layers = append(c.Layers, LayerConfig{HeadDim: c.HeadDim, KVHeads: c.NumKeyValueHeads, Intermediate: c.IntermediateSize})
	}
	c.readOverrides(f)
	c.alike(f)
	equal := f.bool("attention_k_eq_v", false)
	for i := range c.Layers {
		c.Layers[i].KeysOf, c.Layers[i].KeysAreValues = i, equal && c.Window(i) == 0
	}
	c.shareKeys(f)
	if n := f.int("hidden_size_per_layer_input", 256); n != 0 {
		c.PerLayerInput = f.size("hidden_size_per_layer_input", 256, maxSize)
		c.PerLayerVocab = f.size("vocab_size_per_layer_input", 262144, maxSize)
		if c.PerLayerVocab < c.VocabSize {
			f.fail("vocab_size_per_layer_input is %d, and vocab_size %d: tokens beyond it have no inputs of the layers", c.PerLayerVocab, c.VocabSize)
		}
	}
}

// readOverrides reads per_layer_config, or the keys that preceded it, which apply to layers
// without a window.
func (c *ModelConfig) readOverrides(f *fields) {
	if f.raw["per_layer_config"] == nil {
		for i := range c.Layers {
			if c.Window(i) > 0 {
				continue
			}
			c.Layers[i].HeadDim = f.size("global_head_dim", 512, maxSize)
			if f.bool("attention_k_eq_v", false) && f.has("num_global_key_value_heads") {
				c.Layers[i].KVHeads = f.size("num_global_key_value_heads", 1, maxSize)
			}
		}
		return
	}
	all := f.object("per_layer_config")
	if all == nil {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(all.raw)) {
		i, err := strconv.Atoi(key)
		if err != nil || i < 0 || i >= len(c.Layers) {
			all.fail("%q is not a layer: they are numbered 0 to %d", key, len(c.Layers)-1)
			break
		}
		if layer := all.object(key); layer != nil {
			for _, name := range slices.Sorted(maps.Keys(layer.raw)) {
				if name != "head_dim" && name != "num_key_value_heads" {
					layer.fail("%s is not supported: layers differ in head_dim and num_key_value_heads", name)
				}
			}
			c.Layers[i].HeadDim = layer.size("head_dim", c.Layers[i].HeadDim, maxSize)
			c.Layers[i].KVHeads = layer.size("num_key_value_heads", c.Layers[i].KVHeads, maxSize)
			f.take(layer)
		}
	}
	f.take(all)
}

// alike refuses layers of the same kind, with or without a window, whose heads differ: they
// share the angles of their positions.
func (c *ModelConfig) alike(f *fields) {
	first := map[bool]int{}
	for i, l := range c.Layers {
		if c.NumAttentionHeads%l.KVHeads != 0 {
			f.fail("layer %d has %d num_key_value_heads, of which num_attention_heads %d is not a multiple", i, l.KVHeads, c.NumAttentionHeads)
		}
		kind := c.Window(i) > 0
		j, seen := first[kind]
		if !seen {
			first[kind] = i
		} else if l.HeadDim != c.Layers[j].HeadDim || l.KVHeads != c.Layers[j].KVHeads {
			f.fail("layers %d and %d are both %s and have heads of %d and %d, %d and %d of keys: that is not supported", j, i, c.LayerTypes[i], c.Layers[j].HeadDim, l.HeadDim, c.Layers[j].KVHeads, l.KVHeads)
		}
	}
}

// shareKeys reads which layers compute no keys and values: each reads those of the last
// layer of its kind that computes them.
func (c *ModelConfig) shareKeys(f *fields) {
	n := f.int("num_kv_shared_layers", 0)
	if n < 0 || n >= len(c.Layers) && n > 0 {
		f.fail("num_kv_shared_layers is %d, want 0 to %d", n, len(c.Layers)-1)
		return
	}
	wide := f.bool("use_double_wide_mlp", false)
	last := map[bool]int{} // 1 + the last layer that computes them
	for i := range c.Layers {
		kind := c.Window(i) > 0
		if i < len(c.Layers)-n {
			last[kind] = i + 1
			continue
		}
		if last[kind] == 0 {
			f.fail("num_kv_shared_layers is %d, and no layer before layer %d is %s, whose keys and values it could read", n, i, c.LayerTypes[i])
			return
		}
		c.Layers[i].KeysOf = last[kind] - 1
		if wide {
			c.Layers[i].Intermediate *= 2
		}
	}
}

// headDim is that of layers without a window, or with one.
func (c *ModelConfig) headDim(window bool) int {
	for i, l := range c.Layers {
		if (c.Window(i) > 0) == window {
			return l.HeadDim
		}
	}
	return c.HeadDim
}
