package decoder

import (
	"fmt"
	"maps"
	"slices"

	"dataflex.dev/dataflex/model/checkpoint"
)

// Supported is a model type that Load reads.
type Supported struct {
	ModelType    string // as in config.json
	Architecture string // the class that config.json's architectures names
	Example      string // a model of the type on huggingface.co
}

// examples are small released models, one for every row of families.
var examples = map[string]string{
	"ernie4_5":         "baidu/ERNIE-4.5-0.3B-PT",
	"arcee":            "arcee-ai/AFM-4.5B",
	"ministral3":       "mistralai/Ministral-3-3B-Base-2512, its text model",
	"nanochat":         "karpathy/nanochat-d32",
	"olmo":             "allenai/OLMo-1B-hf",
	"granitemoe":       "ibm-granite/granite-3.1-1b-a400m-base",
	"cohere2":          "CohereLabs/c4ai-command-r7b-12-2024",
	"deepseek_v3":      "moonshotai/Moonlight-16B-A3B-Instruct",
	"ernie4_5_moe":     "baidu/ERNIE-4.5-21B-A3B-PT",
	"glm4_moe":         "zai-org/GLM-4.5-Air",
	"glm4_moe_lite":    "zai-org/GLM-4.7-Flash",
	"youtu":            "tencent/Youtu-LLM-2B",
	"gpt_oss":          "openai/gpt-oss-20b",
	"llama4_text":      "meta-llama/Llama-4-Scout-17B-16E, its text model",
	"minimax_m2":       "MiniMaxAI/MiniMax-M2, not in fp8",
	"cohere":           "CohereLabs/aya-23-8B",
	"falcon":           "tiiuae/falcon-7b",
	"gpt2":             "openai-community/gpt2",
	"gpt_neox":         "EleutherAI/pythia-160m",
	"nemotron":         "nvidia/Minitron-4B-Base",
	"phi":              "microsoft/phi-1_5",
	"stablelm":         "stabilityai/stablelm-2-1_6b",
	"starcoder2":       "bigcode/starcoder2-3b",
	"exaone4":          "LGAI-EXAONE/EXAONE-4.0-1.2B",
	"gemma":            "google/gemma-2b",
	"gemma2":           "google/gemma-2-2b",
	"gemma3_text":      "google/gemma-3-270m",
	"gemma4_text":      "google/gemma-4-E2B-it, its text model",
	"glm":              "zai-org/glm-edge-1.5b-chat",
	"glm4":             "zai-org/GLM-4-9B-0414",
	"granite":          "ibm-granite/granite-3.3-2b-instruct",
	"hunyuan_v1_dense": "tencent/Hunyuan-0.5B-Instruct",
	"lfm2":             "LiquidAI/LFM2-350M",
	"llama":            "meta-llama/Llama-3.2-1B",
	"mistral":          "mistralai/Mistral-7B-v0.3",
	"mixtral":          "mistralai/Mixtral-8x7B-v0.1",
	"olmo2":            "allenai/OLMo-2-0425-1B",
	"olmo3":            "allenai/Olmo-3-1025-7B",
	"olmoe":            "allenai/OLMoE-1B-7B-0924",
	"phi3":             "microsoft/Phi-3-mini-4k-instruct",
	"qwen2":            "Qwen/Qwen2.5-0.5B",
	"glm4v_text":       "zai-org/GLM-4.1V-9B-Thinking, its text model",
	"glm_ocr_text":     "zai-org/GLM-OCR, its text model",
	"qwen2_vl_text":    "Qwen/Qwen2-VL-2B-Instruct, its text model",
	"qwen2_5_vl_text":  "Qwen/Qwen2.5-VL-3B-Instruct, its text model",
	"qwen3_vl_text":    "Qwen/Qwen3-VL-2B-Instruct, its text model",
	"qwen2_moe":        "Qwen/Qwen1.5-MoE-A2.7B",
	"qwen3":            "Qwen/Qwen3-0.6B",
	"qwen3_moe":        "Qwen/Qwen3-30B-A3B",
	"qwen3_next":       "Qwen/Qwen3-Next-80B-A3B-Instruct",
	"qwen3_5_text":     "Qwen/Qwen3.5-0.8B, its text model",
	"qwen3_5_moe_text": "Qwen/Qwen3.5-35B-A3B, its text model",
	"seed_oss":         "ByteDance-Seed/Seed-OSS-36B-Instruct",
	"smollm3":          "HuggingFaceTB/SmolLM3-3B",
}

// multimodalExamples are the multimodal models whose language model can be read: architecture, and a
// released model.
var multimodalExamples = map[string][2]string{
	"gemma3":           {"Gemma3ForConditionalGeneration", "google/gemma-3-4b-it"},
	"gemma4":           {"Gemma4ForConditionalGeneration", "google/gemma-4-E2B-it"},
	"glm4v":            {"Glm4vForConditionalGeneration", "zai-org/GLM-4.1V-9B-Thinking"},
	"glm_ocr":          {"GlmOcrForConditionalGeneration", "zai-org/GLM-OCR"},
	"idefics3":         {"Idefics3ForConditionalGeneration", "HuggingFaceM4/Idefics3-8B-Llama3"},
	"internvl":         {"InternVLForConditionalGeneration", "OpenGVLab/InternVL3-1B-hf"},
	"llama4":           {"Llama4ForConditionalGeneration", "meta-llama/Llama-4-Scout-17B-16E"},
	"llava":            {"LlavaForConditionalGeneration", "llava-hf/llava-1.5-7b-hf"},
	"llava_next":       {"LlavaNextForConditionalGeneration", "llava-hf/llava-v1.6-mistral-7b-hf"},
	"llava_next_video": {"LlavaNextVideoForConditionalGeneration", "llava-hf/LLaVA-NeXT-Video-7B-hf"},
	"llava_onevision":  {"LlavaOnevisionForConditionalGeneration", "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"},
	"mistral3":         {"Mistral3ForConditionalGeneration", "mistralai/Mistral-Small-3.1-24B-Instruct-2503"},
	"qwen2_vl":         {"Qwen2VLForConditionalGeneration", "Qwen/Qwen2-VL-2B-Instruct"},
	"qwen2_5_vl":       {"Qwen2_5_VLForConditionalGeneration", "Qwen/Qwen2.5-VL-3B-Instruct"},
	"qwen3_vl":         {"Qwen3VLForConditionalGeneration", "Qwen/Qwen3-VL-2B-Instruct"},
	"qwen3_5":          {"Qwen3_5ForConditionalGeneration", "Qwen/Qwen3.5-27B"},
	"qwen3_5_moe":      {"Qwen3_5MoeForConditionalGeneration", "Qwen/Qwen3.5-35B-A3B"},
	"smolvlm":          {"SmolVLMForConditionalGeneration", "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"},
}

// List returns every supported model type, sorted; multimodal ones come last.
func List() []Supported {
	var list []Supported
	for _, name := range slices.Sorted(maps.Keys(families)) {
		list = append(list, Supported{name, families[name].architecture, examples[name]})
	}
	for _, name := range checkpoint.Multimodals() {
		if Supports(checkpoint.TextOf(name)) {
			list = append(list, Supported{name, multimodalExamples[name][0], multimodalExamples[name][1] + ", text only"})
		}
	}
	return list
}

// Supports reports whether a model_type is supported.
func Supports(modelType string) bool { _, ok := families[modelType]; return ok }

// nearest returns the supported model type with the most similar name. A common prefix counts
// most, because families have their version at the end of the name.
func nearest(modelType string) string {
	best, least := "", 0
	for _, name := range slices.Sorted(maps.Keys(families)) {
		prefix := 0
		for prefix < min(len(name), len(modelType)) && name[prefix] == modelType[prefix] {
			prefix++
		}
		if d := levenshtein(name, modelType) - prefix; best == "" || d < least {
			best, least = name, d
		}
	}
	return best
}

// levenshtein returns the Levenshtein distance of two strings.
func levenshtein(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// unknown returns the error for a model type that is not supported.
func unknown(modelType, architectures string) error {
	near := nearest(modelType)
	return fmt.Errorf("model_type %q (%s) is not supported; the nearest supported one is %q (%s); `dataflex-cli models` lists all",
		modelType, architectures, near, examples[near])
}

// HostOnly names what the model in a folder computes that only the CPU has kernels for; "" if
// there is nothing, or the folder cannot be read: loading it reports why.
func HostOnly(dir string) string {
	c, err := readConfig(dir)
	if err != nil {
		return ""
	}
	return families[c.ModelType].hostOnly(&c)
}
