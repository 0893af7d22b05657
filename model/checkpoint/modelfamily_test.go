package checkpoint

import (
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

// What transformers 4.52's classes of each family supply where the file is silent.
func TestFamilyDefaults(t *testing.T) {
	bare := map[string]string{"rope_scaling": "", "rope_theta": "", "rms_norm_eps": "", "num_key_value_heads": "", "num_attention_heads": "32", "hidden_size": "64"}
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
		{map[string]string{"model_type": `"qwen3_moe"`, "mlp_only_layers": "[0.5]"}, "mlp_only_layers holds 0.5, want integers"},
	} {
		dir := edited(t, "config.json", llamaConfig, c.edits)
		_, err := ReadModelConfig(dir)
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "config.json")+": "+c.want) {
			t.Errorf("%v: got %v, want %q", c.edits, err, c.want)
		}
	}
}
