package template

// Templates from e to k; Template documents the defaults of missing fields.
var tableEK = map[string]Template{
	"empty": {
		assistant: []slot{content},
	},
	"ernie": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n\n"},
		observation:   []slot{"<|im_start|>tool\n{{content}}<|im_end|>\n\n<|im_start|>assistant\n"},
		defaultSystem: "<global_setting>\nthink_mode=True\n</global_setting>", stopWords: []string{"<|im_end|>"},
	},
	"ernie_nothink": {
		prefix: []slot{"<|begin_of_sentence|>"}, system: []slot{"{{content}}\n"}, user: []slot{"User: {{content}}\nAssistant: "},
		assistant: []slot{"{{content}}<|end_of_sentence|>"}, stopWords: []string{"<|end_of_sentence|>"},
	},
	"ernie_vl": {
		kind: reasoning, system: []slot{"{{content}}\n"}, user: []slot{"User: {{content}}"},
		assistant: []slot{"\nAssistant: {{content}}<|end_of_sentence|>"}, stopWords: []string{"<|end_of_sentence|>"}, replaceEOS: true,
		replaceJinja: true,
	},
	"exaone": {
		system: []slot{"[|system|]{{content}}[|endofturn|]\n"}, user: []slot{"[|user|]{{content}}\n[|assistant|]"},
		assistant: []slot{content, eos, "\n"},
	},
	"falcon": {
		user: []slot{"User: {{content}}\nFalcon:"}, assistant: []slot{"{{content}}\n"}, efficientEOS: true,
	},
	"falcon_h1": {
		prefix: []slot{bos}, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n"},
		stopWords:   []string{"<|im_end|>", "<|end_of_text|>"},
	},
	"fewshot": {
		assistant: []slot{"{{content}}\n\n"}, efficientEOS: true, replaceJinja: true,
	},
	"gemma": {
		kind: inFirst, prefix: []slot{bos}, system: []slot{"{{content}}\n\n"},
		user:        []slot{"<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n"},
		assistant:   []slot{"{{content}}<end_of_turn>\n"},
		observation: []slot{"<start_of_turn>tool\n{{content}}<end_of_turn>\n<start_of_turn>model\n"}, stopWords: []string{"<end_of_turn>"},
		replaceEOS: true,
	},
	"gemma2": {
		kind: inFirst, prefix: []slot{bos}, system: []slot{"{{content}}\n\n"},
		user:        []slot{"<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n"},
		assistant:   []slot{"{{content}}<end_of_turn>\n"},
		observation: []slot{"<start_of_turn>tool\n{{content}}<end_of_turn>\n<start_of_turn>model\n"},
		stopWords:   []string{"<eos>", "<end_of_turn>"}, efficientEOS: true,
	},
	"gemma3": {
		kind: inFirst, prefix: []slot{bos}, system: []slot{"{{content}}\n\n"},
		user:        []slot{"<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n"},
		assistant:   []slot{"{{content}}<end_of_turn>\n"},
		observation: []slot{"<start_of_turn>tool\n{{content}}<end_of_turn>\n<start_of_turn>model\n"}, stopWords: []string{"<end_of_turn>"},
		replaceEOS: true,
	},
	"gemma3n": {
		kind: inFirst, prefix: []slot{bos}, system: []slot{"{{content}}\n\n"},
		user:        []slot{"<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n"},
		assistant:   []slot{"{{content}}<end_of_turn>\n"},
		observation: []slot{"<start_of_turn>tool\n{{content}}<end_of_turn>\n<start_of_turn>model\n"}, stopWords: []string{"<end_of_turn>"},
		replaceEOS: true,
	},
	"gemma4": {
		kind: reasoning, prefix: []slot{bos}, system: []slot{"<|turn>system\n<|think|>{{content}}<turn|>\n"},
		user: []slot{"<|turn>user\n{{content}}<turn|>\n<|turn>model\n"}, assistant: []slot{"{{content}}<turn|>\n"},
		observation: []slot{"<|turn>tool\n{{content}}<turn|>\n<|turn>model\n"}, function: []slot{"<|tool>{{content}}<tool|>"},
		toolFormat: "gemma4", defaultSystem: "You are a helpful assistant.", stopWords: []string{"<turn|>"},
		thought: [2]string{"<|channel>thought\n", "<channel|>"}, replaceEOS: true, forgets: true,
	},
	"gemma4n": {
		kind: reasoning, prefix: []slot{bos}, system: []slot{"<|turn>system\n<|think|>{{content}}<turn|>\n"},
		user: []slot{"<|turn>user\n{{content}}<turn|>\n<|turn>model\n"}, assistant: []slot{"{{content}}<turn|>\n"},
		observation: []slot{"<|turn>tool\n{{content}}<turn|>\n<|turn>model\n"}, function: []slot{"<|tool>{{content}}<tool|>"},
		toolFormat: "gemma4", defaultSystem: "You are a helpful assistant.", stopWords: []string{"<turn|>"},
		thought: [2]string{"<|channel>thought\n", "<channel|>"}, replaceEOS: true, forgets: true,
	},
	"glm4": {
		prefix: []slot{"[gMASK]<sop>"}, system: []slot{"<|system|>\n{{content}}"}, user: []slot{"<|user|>\n{{content}}<|assistant|>"},
		assistant: []slot{"\n{{content}}"}, observation: []slot{"<|observation|>\n{{content}}<|assistant|>"}, function: []slot{content},
		toolFormat: "glm4", stopWords: []string{"<|user|>", "<|observation|>"}, efficientEOS: true,
	},
	"glm4_5v": {
		kind: reasoning, prefix: []slot{"[gMASK]<sop>"}, system: []slot{"<|system|>\n{{content}}"},
		user: []slot{"<|user|>\n{{content}}<|assistant|>"}, assistant: []slot{"\n{{content}}"},
		observation: []slot{"<|observation|>\n{{content}}<|assistant|>"}, function: []slot{content}, toolFormat: "glm4_moe",
		stopWords: []string{"<|user|>", "<|observation|>", "</answer>"}, efficientEOS: true,
	},
	"glm4_7": {
		kind: reasoning, prefix: []slot{"[gMASK]<sop>"}, system: []slot{"<|system|>\n{{content}}"},
		user: []slot{"<|user|>\n{{content}}<|assistant|>"}, assistant: []slot{"\n{{content}}"},
		observation: []slot{"<|observation|>\n{{content}}<|assistant|>"}, function: []slot{content}, toolFormat: "glm4_moe",
		stopWords: []string{"<|user|>", "<|observation|>"}, thought: [2]string{"<think>", "</think>"}, emptyThought: "</think>",
		efficientEOS: true, forgets: true,
	},
	"glm4_moe": {
		kind: reasoning, prefix: []slot{"[gMASK]<sop>"}, system: []slot{"<|system|>\n{{content}}"},
		user: []slot{"<|user|>\n{{content}}<|assistant|>"}, assistant: []slot{"\n{{content}}"},
		observation: []slot{"<|observation|>\n{{content}}<|assistant|>"}, function: []slot{content}, toolFormat: "glm4_moe",
		stopWords: []string{"<|user|>", "<|observation|>"}, efficientEOS: true,
	},
	"glm4v": {
		kind: reasoning, prefix: []slot{"[gMASK]<sop>"}, system: []slot{"<|system|>\n{{content}}"},
		user: []slot{"<|user|>\n{{content}}<|assistant|>"}, assistant: []slot{"\n{{content}}"},
		observation: []slot{"<|observation|>\n{{content}}<|assistant|>"}, function: []slot{content}, toolFormat: "glm4",
		stopWords: []string{"<|user|>", "<|observation|>", "</answer>"}, efficientEOS: true,
	},
	"glm_ocr": {
		prefix: []slot{"[gMASK]<sop>"}, system: []slot{"<|system|>\n{{content}}"}, user: []slot{"<|user|>\n{{content}}<|assistant|>"},
		assistant: []slot{"\n{{content}}"}, observation: []slot{"<|observation|>\n{{content}}<|assistant|>"}, function: []slot{content},
		toolFormat: "glm4", stopWords: []string{"<|user|>", "<|observation|>"}, efficientEOS: true,
	},
	"glmz1": {
		kind: reasoning, prefix: []slot{"[gMASK]<sop>"}, system: []slot{"<|system|>\n{{content}}"},
		user: []slot{"<|user|>\n{{content}}<|assistant|>"}, assistant: []slot{"\n{{content}}"},
		observation: []slot{"<|observation|>\n{{content}}<|assistant|>"}, function: []slot{content}, toolFormat: "glm4",
		stopWords: []string{"<|user|>", "<|observation|>"}, efficientEOS: true,
	},
	"gpt_oss": {
		kind: reasoning, system: []slot{"<|start|>system<|message|>{{content}}<|end|>"},
		user: []slot{"<|start|>user<|message|>{{content}}<|end|><|start|>assistant"}, assistant: []slot{"{{content}}<|end|>"},
		defaultSystem: "You are ChatGPT, a large language model trained by OpenAI.",
		thought:       [2]string{"<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"}, efficientEOS: true,
	},
	"granite3": {
		system:    []slot{"<|start_of_role|>system<|end_of_role|>{{content}}<|end_of_text|>\n"},
		user:      []slot{"<|start_of_role|>user<|end_of_role|>{{content}}<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"},
		assistant: []slot{"{{content}}<|end_of_text|>\n"},
	},
	"granite3_vision": {
		system: []slot{"<|system|>\n{{content}}\n"}, user: []slot{"<|user|>\n{{content}}\n<|assistant|>\n"},
		defaultSystem: "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
	},
	"granite4": {
		system:        []slot{"<|start_of_role|>system<|end_of_role|>{{content}}<|end_of_text|>\n"},
		user:          []slot{"<|start_of_role|>user<|end_of_role|>{{content}}<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"},
		assistant:     []slot{"{{content}}<|end_of_text|>\n"},
		observation:   []slot{"<|start_of_role|>tool<|end_of_role|>{{content}}<|end_of_text|>\n<|start_of_role|>assistant\n"},
		defaultSystem: "You are Granite, developed by IBM. You are a helpful AI assistant.", stopWords: []string{"<|end_of_text|>"},
	},
	"hunyuan": {
		prefix: []slot{"<|startoftext|>"}, system: []slot{"{{content}}<|extra_4|>"}, user: []slot{"{{content}}<|extra_0|>"},
		assistant: []slot{"{{content}}<|eos|>"}, stopWords: []string{"<|eos|>"},
	},
	"hunyuan_small": {
		prefix: []slot{"<｜hy_begin▁of▁sentence｜>"}, system: []slot{"{{content}}<｜hy_place▁holder▁no▁3｜>"},
		user: []slot{"<｜hy_User｜>{{content}}<｜hy_place▁holder▁no▁8｜>"}, assistant: []slot{"{{content}}<｜hy_place▁holder▁no▁2｜>"},
		stopWords: []string{"<｜hy_place▁holder▁no▁2｜>"},
	},
	"hy3": {
		kind: reasoning, prefix: []slot{bos}, user: []slot{"<｜hy_User｜>{{content}}<｜hy_Assistant｜>"},
		assistant: []slot{"{{content}}<｜hy_eos｜>"}, stopWords: []string{"<｜hy_eos｜>"}, thought: [2]string{"<think>", "</think>"},
		replaceEOS: true, forgets: true,
	},
	"hy_dense_1_8b": {
		prefix: []slot{bos}, system: []slot{"{{content}}<｜hy_place▁holder▁no▁3｜>"}, user: []slot{"<｜hy_User｜>{{content}}"},
		assistant: []slot{"<｜hy_Assistant｜>{{content}}"}, stopWords: []string{"<｜hy_place▁holder▁no▁2｜>"}, efficientEOS: true,
	},
	"hy_dense_7b": {
		prefix: []slot{bos}, system: []slot{"{{content}}<|extra_4|>"}, user: []slot{"{{content}}<|extra_0|>"},
		stopWords: []string{"<|eos|>"}, efficientEOS: true,
	},
	"index": {
		system: []slot{"<unk>{{content}}"}, user: []slot{"reserved_0{{content}}reserved_1"}, efficientEOS: true,
	},
	"intern": {
		prefix: []slot{bos}, system: []slot{"<|System|>:{{content}}\n"}, user: []slot{"<|User|>:{{content}}\n<|Bot|>:"},
		assistant:     []slot{"{{content}}<eoa>\n"},
		defaultSystem: "You are an AI assistant whose name is InternLM (书生·浦语).\n- InternLM (书生·浦语) is a conversational language model that is developed by Shanghai AI Laboratory (上海人工智能实验室). It is designed to be helpful, honest, and harmless.\n- InternLM (书生·浦语) can understand and communicate fluently in the language chosen by the user such as English and 中文.",
		stopWords:     []string{"<eoa>"},
	},
	"intern2": {
		prefix: []slot{bos}, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		defaultSystem: "You are an AI assistant whose name is InternLM (书生·浦语).\n- InternLM (书生·浦语) is a conversational language model that is developed by Shanghai AI Laboratory (上海人工智能实验室). It is designed to be helpful, honest, and harmless.\n- InternLM (书生·浦语) can understand and communicate fluently in the language chosen by the user such as English and 中文.",
		stopWords:     []string{"<|im_end|>"},
	},
	"intern_s1": {
		prefix: []slot{bos}, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		stopWords: []string{"<|im_end|>"},
	},
	"intern_vl": {
		prefix: []slot{bos}, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		defaultSystem: "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。", stopWords: []string{"<|im_end|>"},
	},
	"keye_vl": {
		kind: reasoning, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"kimi_vl": {
		kind: reasoning, system: []slot{"<|im_system|>system<|im_middle|>{{content}}<|im_end|>"},
		user:      []slot{"<|im_user|>user<|im_middle|>{{content}}<|im_end|><|im_assistant|>assistant<|im_middle|>"},
		assistant: []slot{"{{content}}<|im_end|>"}, defaultSystem: "You are a helpful assistant", stopWords: []string{"<|im_end|>"},
		thought: [2]string{"◁think▷", "◁/think▷"},
	},
}
