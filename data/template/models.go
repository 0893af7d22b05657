package template

import (
	"path"
	"strings"
)

// modelTemplates are the templates that LLaMA-Factory's list of models (DEFAULT_TEMPLATE in
// extras/constants.py, main of August 2026) gives to the models whose templates came after
// 0.9.4, by the beginning of their names. The first that fits counts.
var modelTemplates = []struct{ prefix, template string }{
	{"aeva", "aeva"},
	{"gemma-4-26b", "gemma4"},
	{"gemma-4-31b", "gemma4"},
	{"gemma-4-", "gemma4n"},
	{"glm-4.7-flash", "glm4_7"},
	{"glm-ocr", "glm_ocr"},
	{"hy-mt1.5-1.8b", "hunyuan_small"},
	{"hy-mt2-1.8b", "hy_dense_1_8b"},
	{"hy-mt2-7b", "hy_dense_7b"},
	{"hy3", "hy3"},
	{"lfm2.5-vl", "lfm2_vl"},
	{"lfm2.5-", "lfm2"},
	{"minicpm-v-4_6", "minicpm_v_4_6"},
	{"moss-vl", "moss_vl"},
	{"phi-4-mini-instruct", "phi4_mini"},
	{"qwen3.5-", "qwen3_5"},
	{"qwen3.6-", "qwen3_6"},
	{"youtu-llm", "youtu"},
	{"youtu-vl", "youtu_vl"},
}

// ForModel is the template of a model, found by its name on a hub or that of its folder; "" for
// a model whose tokenizer's own chat template will do, or that is not known.
func ForModel(model string) string {
	name := strings.ToLower(path.Base(strings.ReplaceAll(model, `\`, "/")))
	for _, m := range modelTemplates {
		if strings.HasPrefix(name, m.prefix) {
			return m.template
		}
	}
	return ""
}
