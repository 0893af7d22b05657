package checkpoint

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// windows are those of the first layers.
func windows(c *ModelConfig, layers int) []int {
	var w []int
	for i := range layers {
		w = append(w, c.Window(i))
	}
	return w
}

// The defaults of each family's class in transformers 4.52.
func TestFamilyDefaults(t *testing.T) {
	bare := map[string]string{"rope_scaling": "", "rope_theta": "", "rms_norm_eps": "", "num_key_value_heads": "", "num_attention_heads": "32", "hidden_size": "64"}
	heads := map[string]string{"num_key_value_heads": "32"}
	with := func(a, b map[string]string) map[string]string {
		out := maps.Clone(a)
		maps.Copy(out, b)
		return out
	}
	for _, c := range []struct {
		modelType string
		edits     map[string]string
		good      func(c *ModelConfig) bool
	}{
		{"qwen3", nil, func(c *ModelConfig) bool { return c.HeadDim == 128 && c.RotaryDim == 128 && !c.QKVBias }},
		{"gemma", nil, func(c *ModelConfig) bool { return c.HeadDim == 256 && c.HiddenAct == geluTanh && c.TieWordEmbeddings }},
		{"gemma", map[string]string{"hidden_act": `"gelu"`, "hidden_activation": `"gelu_pytorch_tanh"`}, func(c *ModelConfig) bool { return c.HiddenAct == geluTanh }},
		{"gemma2", nil, func(c *ModelConfig) bool {
			return c.AttnSoftCap == 50 && c.FinalSoftCap == 30 && c.QueryPreAttnScalar == 256 && slices.Equal(windows(c, 4), []int{4096, 0, 4096, 0})
		}},
		{"gemma2", map[string]string{"attn_logit_softcapping": "null", "final_logit_softcapping": "20"}, func(c *ModelConfig) bool { return c.AttnSoftCap == 0 && c.FinalSoftCap == 20 }},
		{"gemma3_text", map[string]string{"sliding_window": "512"}, func(c *ModelConfig) bool {
			return c.RopeTheta == 1e6 && c.RopeLocalBase == 1e4 && slices.Equal(windows(c, 7), []int{512, 512, 512, 512, 512, 0, 512})
		}},
		{"gemma3_text", map[string]string{"layer_types": `["full_attention", "sliding_attention"]`}, func(c *ModelConfig) bool { return slices.Equal(windows(c, 2), []int{0, 4096}) }},
		{"olmo2", nil, func(c *ModelConfig) bool { return c.RMSNormEps == 1e-5 }},
		{"granite", nil, func(c *ModelConfig) bool { return c.EmbeddingMultiplier == 1 && c.LogitsScaling == 1 }},
		{"granite", map[string]string{"logits_scaling": "8", "residual_multiplier": "0.22"}, func(c *ModelConfig) bool { return c.LogitsScaling == 8 && c.ResidualMultiplier == 0.22 }},
		{"glm4", nil, func(c *ModelConfig) bool {
			return c.HeadDim == 128 && c.RotaryDim == 64 && c.NumKeyValueHeads == 2 && c.QKVBias && !c.OutputBias && c.RMSNormEps == 1.5625e-7
		}},
		{"glm4", map[string]string{"attention_bias": "false"}, func(c *ModelConfig) bool { return !c.QKVBias && !c.OutputBias }},
		{"phi3", map[string]string{"rope_scaling": `{"type": "su", "short_factor": [1], "long_factor": [2]}`}, func(c *ModelConfig) bool {
			return c.RopeScaling.Type == "longrope" && c.RopeScaling.OriginalMaxPositionEmbeddings == 4096
		}},
		{"phi3", map[string]string{"partial_rotary_factor": "0.75", "head_dim": "16"}, func(c *ModelConfig) bool { return c.RotaryDim == 12 }},
		{"phi3", map[string]string{"rope_parameters": `{"rope_type": "longrope", "rope_theta": 5000, "partial_rotary_factor": 0.75, "original_max_position_embeddings": 64, "short_factor": [1], "long_factor": [2]}`, "head_dim": "16"}, func(c *ModelConfig) bool {
			return c.RotaryDim == 12 && c.RopeTheta == 5000 && c.RopeScaling.Type == "longrope" && c.RopeScaling.OriginalMaxPositionEmbeddings == 64
		}},
		{"glm4", map[string]string{"rope_parameters": `{"rope_type": "default", "rope_theta": 7000, "partial_rotary_factor": 0.25}`}, func(c *ModelConfig) bool {
			return c.RotaryDim == 32 && c.RopeTheta == 7000 && c.RopeScaling == nil
		}},
		{"gemma3_text", map[string]string{"rope_parameters": `{"full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 2000000}, "sliding_attention": {"rope_type": "default", "rope_theta": 20000}}`}, func(c *ModelConfig) bool {
			return c.RopeTheta == 2e6 && c.RopeLocalBase == 2e4 && c.RopeScaling.Type == "linear" && c.RopeScaling.Factor == 8
		}},
		{"llama", map[string]string{"rope_parameters": `{"rope_type": "linear", "factor": 4, "rope_theta": 5000}`, "rope_scaling": "null"}, func(c *ModelConfig) bool {
			return c.RopeTheta == 5000 && c.RopeScaling.Type == "linear" && c.RopeScaling.Factor == 4
		}},
		{"qwen3_moe", map[string]string{"num_local_experts": "16"}, func(c *ModelConfig) bool { return c.MoE.Experts == 16 }},
		{"mixtral", nil, func(c *ModelConfig) bool {
			m := c.MoE
			return m.Experts == 8 && m.PerToken == 2 && m.Normalize && m.Intermediate == 96 && m.SharedIntermediate == 0 && c.RopeTheta == 1e6 && c.Sparse(1) && c.Window(0) == 0
		}},
		{"qwen2_moe", nil, func(c *ModelConfig) bool {
			m := c.MoE
			return m.Experts == 60 && m.PerToken == 4 && !m.Normalize && m.Intermediate == 1408 && m.SharedIntermediate == 5632 && c.QKVBias && c.NumKeyValueHeads == 16
		}},
		{"qwen2_moe", map[string]string{"qkv_bias": "false"}, func(c *ModelConfig) bool { return !c.QKVBias }},
		{"qwen3_moe", map[string]string{"mlp_only_layers": "[3]", "decoder_sparse_step": "2", "norm_topk_prob": "true"}, func(c *ModelConfig) bool {
			return c.MoE.Experts == 128 && c.MoE.Normalize && !c.Sparse(0) && c.Sparse(1) && !c.Sparse(2) && !c.Sparse(3) && c.Sparse(5)
		}},
		{"deepseek_v3", heads, func(c *ModelConfig) bool {
			m, l := c.MoE, c.Latent
			return *l == LatentConfig{QueryRank: 1536, Rank: 512, PlainDim: 128, RotaryDim: 64, ValueDim: 128} && c.HeadDim == 192 && c.RotaryDim == 64 && m.Experts == 256 && m.PerToken == 8 &&
				m.Groups == 8 && m.TopGroups == 4 && m.Scaling == 2.5 && m.Normalize && m.SharedIntermediate == 2048 && m.AuxCoef == 0 && !c.Sparse(1)
		}},
		{"deepseek_v3", with(heads, map[string]string{"q_lora_rank": "null", "first_k_dense_replace": "1", "norm_topk_prob": "false", "rope_interleave": "false", "n_shared_experts": "3"}), func(c *ModelConfig) bool {
			return c.Latent.QueryRank == 0 && c.Latent.Halves && !c.Sparse(0) && c.Sparse(1) && !c.MoE.Normalize && c.MoE.SharedIntermediate == 3*2048
		}},
		{"glm4_moe_lite", heads, func(c *ModelConfig) bool {
			return c.Latent.ValueDim == 256 && c.MoE.Scaling == 1.8 && !c.Sparse(0) && c.Sparse(1) && c.RMSNormEps == 1e-5
		}},
		{"glm4_moe_lite", with(heads, map[string]string{"mlp_layer_types": `["sparse", "dense"]`, "first_k_dense_replace": "1"}), func(c *ModelConfig) bool { return c.Sparse(0) && !c.Sparse(1) }},
		{"youtu", heads, func(c *ModelConfig) bool { return c.Latent.Rank == 512 && c.MoE == nil && c.TieWordEmbeddings }},
		{"glm4_moe", map[string]string{"attention_bias": "true"}, func(c *ModelConfig) bool {
			return c.QKVBias && !c.OutputBias && c.RotaryDim == c.HeadDim/2 && !c.QKNorm && c.MoE.Experts == 128 && c.MoE.Scaling == 1
		}},
		{"ernie4_5_moe", map[string]string{"moe_layer_interval": "2", "moe_layer_start_index": "0"}, func(c *ModelConfig) bool {
			m := c.MoE
			return m.Experts == 64 && m.PerToken == 6 && m.Floor == 1e-12 && m.Normalize && m.SharedIntermediate == 2*1536 && !c.Sparse(0) && c.Sparse(1) && c.RopeTheta == 5e5
		}},
		{"ernie4_5_moe", map[string]string{"moe_layer_end_index": "0", "moe_num_shared_experts": "0", "use_bias": "true"}, func(c *ModelConfig) bool {
			return !c.Sparse(1) && c.MoE.SharedIntermediate == 0 && c.MLPBias && c.OutputBias
		}},
		{"gpt_oss", nil, func(c *ModelConfig) bool {
			r := c.RopeScaling
			return c.QKVBias && c.OutputBias && !c.MLPBias && slices.Equal(windows(c, 4), []int{128, 0, 128, 0}) && c.MoE.Limit == 7 && c.MoE.Alpha == 1.702 &&
				r.Type == "yarn" && r.Factor == 32 && r.Smooth && r.KeepFactor && c.RopeTheta == 150000 && c.HeadDim == 64
		}},
		{"gpt_oss", map[string]string{"attention_bias": "false", "rope_parameters": `{"rope_type": "default", "rope_theta": 5}`}, func(c *ModelConfig) bool {
			return !c.QKVBias && !c.OutputBias && c.RopeScaling == nil && c.RopeTheta == 5
		}},
		{"llama4_text", map[string]string{"no_rope_layers": "[]"}, func(c *ModelConfig) bool {
			return c.Chunk(0) == 8192 && c.QKNorm && c.IntermediateSize == 16384 && c.MoE.Intermediate == 96 && c.MoE.SharedIntermediate == 96 && c.GrowthScale == 0.1 &&
				c.GrowthFloor == 8192 && c.Sparse(0) && !c.NoRope[1] && c.HeadDim == 128
		}},
		{"llama4_text", map[string]string{"no_rope_layers": "[0, 1]", "moe_layers": "[1]", "attention_chunk_size": "5", "attn_temperature_tuning": "0"}, func(c *ModelConfig) bool {
			return c.Chunk(0) == 0 && c.Chunk(1) == 5 && c.NoRope[0] && !c.Sparse(0) && c.Sparse(1) && c.GrowthScale == 0
		}},
		{"llama4_text", map[string]string{"layer_types": `["chunked_attention", "full_attention"]`, "no_rope_layers": "[0, 1]", "interleave_moe_layer_step": "2"}, func(c *ModelConfig) bool {
			return c.Chunk(0) == 8192 && c.Chunk(1) == 0 && !c.Sparse(0) && c.Sparse(1)
		}},
		{"llama4_text", map[string]string{"attention_chunk_size": "null", "use_qk_norm": "false"}, func(c *ModelConfig) bool { return c.Chunk(0) == 0 && !c.QKNorm }},
		{"llama", nil, func(c *ModelConfig) bool { return c.MoE == nil && !c.Sparse(0) && c.LogitsScaling == 0 }},
	} {
		edits := map[string]string{"model_type": `"` + c.modelType + `"`}
		for _, e := range []map[string]string{bare, c.edits} {
			for k, v := range e {
				edits[k] = v
			}
		}
		got, err := ReadModelConfig(edited(t, "config.json", llamaConfig, edits))
		if err != nil {
			t.Errorf("%s %v: %v", c.modelType, c.edits, err)
		} else if !c.good(got) {
			t.Errorf("%s %v: got %+v, experts %+v", c.modelType, c.edits, got, got.MoE)
		}
	}
}

func TestFamilyErrors(t *testing.T) {
	for _, c := range []struct {
		edits map[string]string
		want  string
	}{
		{map[string]string{"partial_rotary_factor": "1.5"}, "partial_rotary_factor is 1.5, want more than 0 and at most 1"},
		{map[string]string{"layer_types": `["full_attention"]`}, "layer_types has 1 entries, num_hidden_layers is 2"},
		{map[string]string{"layer_types": `["full_attention", "linear_attention"]`}, `layer_types holds "linear_attention", want full_attention or sliding_attention`},
		{map[string]string{"model_type": `"gemma2"`, "attn_logit_softcapping": "-1"}, "query_pre_attn_scalar, attn_logit_softcapping or final_logit_softcapping is negative"},
		{map[string]string{"model_type": `"granite"`, "logits_scaling": "0"}, "logits_scaling is 0"},
		{map[string]string{"model_type": `"mixtral"`, "num_experts_per_tok": "9"}, "num_experts_per_tok is 9, want 1 to num_local_experts, which is 8"},
		{map[string]string{"model_type": `"qwen3_moe"`, "decoder_sparse_step": "0"}, "decoder_sparse_step is 0, want at least 1"},
		{map[string]string{"model_type": `"glm4_moe"`, "n_group": "3"}, "n_group 3 and topk_group 1 do not match 128 experts, 8 of them per token"},
		{map[string]string{"model_type": `"glm4_moe"`, "n_group": "128"}, "n_group 128 and topk_group 1 do not match 128 experts"},
		{map[string]string{"model_type": `"glm4_moe"`, "n_shared_experts": "0"}, "n_shared_experts is 0, want at least 1"},
		{map[string]string{"model_type": `"deepseek_v3"`, "num_key_value_heads": "4", "scoring_func": `"softmax"`}, `scoring_func is "softmax", which is not supported: sigmoid is`},
		{map[string]string{"model_type": `"deepseek_v3"`, "num_key_value_heads": "2"}, "num_key_value_heads is 2 and num_attention_heads 4: latent attention requires equal numbers"},
		{map[string]string{"model_type": `"glm4_moe_lite"`, "num_key_value_heads": "4", "mlp_layer_types": `["dense"]`}, "mlp_layer_types has 1 entries, num_hidden_layers is 2"},
		{map[string]string{"model_type": `"gpt_oss"`, "swiglu_limit": "0"}, "swiglu_limit is 0, want more than 0"},
		{map[string]string{"model_type": `"llama4_text"`, "layer_types": `["sliding_attention", "full_attention"]`}, `layer_types holds "sliding_attention", want full_attention or chunked_attention`},
		{map[string]string{"model_type": `"qwen3_moe"`, "mlp_only_layers": "[0.5]"}, "mlp_only_layers holds 0.5, want integers"},
	} {
		dir := edited(t, "config.json", llamaConfig, c.edits)
		_, err := ReadModelConfig(dir)
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "config.json")+": "+c.want) {
			t.Errorf("%v: got %v, want %q", c.edits, err, c.want)
		}
	}
}
