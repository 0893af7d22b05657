package checkpoint

import (
	"cmp"
	"slices"
)

// MoEConfig is a mixture of experts in place of an MLP.
type MoEConfig struct {
	Experts            int // number of experts
	PerToken           int // experts per token
	Intermediate       int // width of an expert's MLP
	SharedIntermediate int // width of the shared expert's MLP; 0: there is none
	Normalize          bool
	AuxCoef            float64 // router_aux_loss_coef; 0 if the family has no such loss
	RouterJitter       float64
	SparseStep         int    // every SparseStep-th layer has experts; qwen
	DenseLayers        []int  // mlp_only_layers: exceptions, which have none
	Layers             []bool // in place of both, for families that list the layers

	Groups, TopGroups int     // a token's experts are from the best TopGroups groups; Groups 0 or 1: from any
	Scaling           float64 // factor of a token's weights after normalisation; 0: 1
	Floor             float64 // lower bound of the sum by which weights are normalised; 0: none
	Alpha, Limit      float64 // of the experts' activation in gpt_oss
}

// LatentConfig is attention whose queries, keys and values are computed from compressed ones
// (multi-head latent attention, arXiv:2405.04434). A head's queries and keys are PlainDim
// elements that are not rotated followed by RotaryDim that are.
type LatentConfig struct {
	QueryRank                     int // width of compressed queries; 0: queries are not compressed
	Rank                          int // width of compressed keys and values
	PlainDim, RotaryDim, ValueDim int
	Halves                        bool // rope rotates pairs of elements from the halves of RotaryDim, not adjacent ones
}

// moeDefaults are the defaults for a mixture of experts; experts 0: there is none.
type moeDefaults struct {
	countKey                        string
	experts, perToken, intermediate int
	shared                          int
	normalize                       bool    // without a key for it: mixtral
	auxCoef                         float64 // 0: 0.001

	normalizes        bool    // norm_topk_prob, if the file lacks it
	everyLayer        bool    // ignores decoder_sparse_step and mlp_only_layers
	noAux             bool    // transformers adds no balance loss
	scaling           float64 // routed_scaling_factor; 0: there is no such key
	groups, topGroups int     // n_group and topk_group; topGroups 0: 1
	sharedCount       int     // n_shared_experts, each as wide as a routed one
	firstDense        int     // first_k_dense_replace
	listed            bool    // mlp_layer_types in its place
	floor             float64 // moe_norm_min
	spans             bool    // has moe_layer_start_index, moe_layer_end_index and moe_layer_interval, and moe_num_shared_experts
	every             int     // interleave_moe_layer_step, used without moe_layers; 0: there is no such key
	clamped           bool    // has swiglu_alpha and swiglu_limit
}

const (
	localExperts  = "num_local_experts" // key for the number of experts in mixtral and, with transformers 5, qwen3_moe
	routedExperts = "n_routed_experts"
)

func (c *ModelConfig) readMoE(f *fields, family familyDefaults) {
	d := family.moe
	if d.experts == 0 {
		return
	}
	if d.countKey != localExperts && !f.has(d.countKey) && f.has(localExperts) {
		d.countKey = localExperts // transformers 5
	}
	m := &MoEConfig{
		Experts: f.size(d.countKey, d.experts, maxSize>>8), PerToken: f.int("num_experts_per_tok", d.perToken),
		Intermediate: c.IntermediateSize, Normalize: d.normalize || f.bool("norm_topk_prob", d.normalizes),
		AuxCoef: f.float("router_aux_loss_coef", cmp.Or(d.auxCoef, 0.001)), RouterJitter: f.float("router_jitter_noise", 0),
		SparseStep: f.size("decoder_sparse_step", 1, maxLayers), DenseLayers: f.ints("mlp_only_layers"),
	}
	if d.noAux {
		m.AuxCoef = 0
	}
	if d.everyLayer {
		m.SparseStep, m.DenseLayers = 1, nil
	}
	if d.intermediate > 0 {
		m.Intermediate = f.size("moe_intermediate_size", d.intermediate, maxSize)
	}
	if d.shared > 0 {
		m.SharedIntermediate = f.size("shared_expert_intermediate_size", d.shared, maxSize)
	}
	if m.PerToken < 1 || m.PerToken > m.Experts {
		f.fail("%s is %d, want 1 to %s, which is %d", f.spelled("num_experts_per_tok"), m.PerToken, d.countKey, m.Experts)
	}
	c.MoE = m
	c.readRouting(f, d)
	switch {
	case d.spans:
		c.readSpans(f)
	case d.every > 0:
		c.readInterleaved(f, d)
	case d.firstDense > 0:
		c.readDenseFirst(f, d)
	}
	if d.clamped {
		m.Alpha, m.Limit = f.float("swiglu_alpha", 1.702), f.float("swiglu_limit", 7)
		if m.Limit <= 0 {
			f.fail("swiglu_limit is %v, want more than 0", m.Limit)
		}
	}
}

// readRouting reads how deepseek_v3 and later models choose experts and compute their
// weights.
func (c *ModelConfig) readRouting(f *fields, d moeDefaults) {
	m := c.MoE
	if d.floor > 0 {
		m.Floor = f.float("moe_norm_min", d.floor)
	}
	if d.groups == 0 {
		return
	}
	if m.Scaling = f.float("routed_scaling_factor", d.scaling); m.Scaling <= 0 {
		f.fail("routed_scaling_factor is %v, want more than 0", m.Scaling)
	}
	m.Groups, m.TopGroups = f.size("n_group", d.groups, maxSize), f.size("topk_group", max(1, d.topGroups), maxSize)
	if size := m.Experts / m.Groups; m.Experts%m.Groups != 0 || size < 2 || m.TopGroups > m.Groups || m.TopGroups*size < m.PerToken {
		f.fail("n_group %d and topk_group %d do not match %d experts, %d of them per token: transformers requires groups of equal size, at least two experts each, and enough of them",
			m.Groups, m.TopGroups, m.Experts, m.PerToken)
	}
	if shared := f.int("n_shared_experts", d.sharedCount); shared < 1 || shared > maxSize/m.Intermediate {
		f.fail("n_shared_experts is %d, want at least 1", shared)
	} else {
		m.SharedIntermediate = shared * m.Intermediate
	}
	// Keys of the models' own code, which transformers does not read.
	if s := f.string("scoring_func", "sigmoid"); s != "sigmoid" {
		f.fail("scoring_func is %q, which is not supported: sigmoid is", s)
	}
	if n := f.int("moe_layer_freq", 1); n != 1 {
		f.fail("moe_layer_freq is %d, which is not supported: 1 is", n)
	}
}

// readDenseFirst reads which layers are dense: the first ones, or those of a list.
func (c *ModelConfig) readDenseFirst(f *fields, d moeDefaults) {
	dense := d.firstDense
	var types []string
	if d.listed {
		if f.has("mlp_layer_types") {
			types = f.strings("mlp_layer_types")
		}
	} else {
		dense = f.int("first_k_dense_replace", dense)
	}
	if types != nil && len(types) != c.NumHiddenLayers {
		f.fail("mlp_layer_types has %d entries, num_hidden_layers is %d", len(types), c.NumHiddenLayers)
		return
	}
	for i := range c.NumHiddenLayers {
		sparse := i >= dense
		if types != nil {
			if sparse = types[i] == "sparse"; !sparse && types[i] != "dense" {
				f.fail("mlp_layer_types holds %q, want dense or sparse", types[i])
			}
		}
		c.MoE.Layers = append(c.MoE.Layers, sparse)
	}
}

// readSpans reads ernie's keys.
func (c *ModelConfig) readSpans(f *fields) {
	first, last, every := f.int("moe_layer_start_index", 1), f.int("moe_layer_end_index", -1), f.size("moe_layer_interval", 1, maxLayers)
	if last == -1 {
		last = c.NumHiddenLayers - 1
	}
	for i := range c.NumHiddenLayers {
		c.MoE.Layers = append(c.MoE.Layers, (i+1)%every == 0 && i >= first && i <= last)
	}
	shared := f.int("moe_num_shared_experts", 2)
	if shared < 0 || shared > maxSize/c.MoE.Intermediate {
		f.fail("moe_num_shared_experts is %d, want at least 0", shared)
		return
	}
	c.MoE.SharedIntermediate = shared * c.MoE.Intermediate
}

// readInterleaved reads llama4's keys: experts and the shared one have the width
// intermediate_size, the dense layers intermediate_size_mlp.
func (c *ModelConfig) readInterleaved(f *fields, d moeDefaults) {
	every := f.size("interleave_moe_layer_step", d.every, maxLayers)
	listed := f.ints("moe_layers")
	for i := range c.NumHiddenLayers {
		sparse := (i+1)%every == 0
		if f.has("moe_layers") {
			sparse = slices.Contains(listed, i)
		}
		c.MoE.Layers = append(c.MoE.Layers, sparse)
	}
	c.MoE.SharedIntermediate = c.MoE.Intermediate
	c.IntermediateSize = f.size("intermediate_size_mlp", 16384, maxSize)
}

// readLatent reads the sizes of latent attention. HeadDim is the width of queries and keys.
func (c *ModelConfig) readLatent(f *fields, family familyDefaults) {
	d := family.latent
	if d == nil {
		return
	}
	l := &LatentConfig{
		QueryRank: d.QueryRank, Rank: f.size("kv_lora_rank", d.Rank, maxSize), PlainDim: f.size("qk_nope_head_dim", d.PlainDim, maxSize),
		RotaryDim: f.size("qk_rope_head_dim", d.RotaryDim, maxSize), ValueDim: f.size("v_head_dim", d.ValueDim, maxSize),
		Halves: !f.bool("rope_interleave", true),
	}
	if present(f, "q_lora_rank") {
		if l.QueryRank = 0; f.has("q_lora_rank") {
			l.QueryRank = f.size("q_lora_rank", d.QueryRank, maxSize)
		}
	}
	if c.NumKeyValueHeads != c.NumAttentionHeads {
		f.fail("num_key_value_heads is %d and num_attention_heads %d: latent attention requires equal numbers", c.NumKeyValueHeads, c.NumAttentionHeads)
	}
	c.Latent, c.HeadDim = l, l.PlainDim+l.RotaryDim
}

// Sparse reports whether layer's MLP is a mixture of experts.
func (c *ModelConfig) Sparse(layer int) bool {
	switch {
	case c.MoE == nil:
		return false
	case c.MoE.Layers != nil:
		return layer < len(c.MoE.Layers) && c.MoE.Layers[layer]
	}
	return (layer+1)%c.MoE.SparseStep == 0 && !slices.Contains(c.MoE.DenseLayers, layer)
}
