package template

// Templates from o to z; Template documents the defaults of missing fields.
var tableOZ = map[string]Template{
	"olmo": {
		prefix: []slot{eos}, user: []slot{"<|user|>\n{{content}}<|assistant|>\n"},
	},
	"openchat": {
		prefix: []slot{bos}, user: []slot{"GPT4 Correct User: {{content}}", eos, "GPT4 Correct Assistant:"},
	},
	"openchat-3.6": {
		prefix:    []slot{bos},
		user:      []slot{"<|start_header_id|>GPT4 Correct User<|end_header_id|>\n\n{{content}}<|eot_id|><|start_header_id|>GPT4 Correct Assistant<|end_header_id|>\n\n"},
		stopWords: []string{"<|eot_id|>"},
	},
	"opencoder": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation:   []slot{"<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n"},
		defaultSystem: "You are OpenCoder, created by OpenCoder Team.", stopWords: []string{"<|im_end|>"},
	},
	"orion": {
		prefix: []slot{bos}, user: []slot{"Human: {{content}}\n\nAssistant: ", eos},
	},
	"paligemma": {
		kind: inFirst, prefix: []slot{bos}, user: []slot{"{{content}}\n"},
	},
	"paligemma_chat": {
		kind: inFirst, prefix: []slot{bos}, user: []slot{"<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n"},
		assistant:   []slot{"{{content}}<end_of_turn>\n"},
		observation: []slot{"<start_of_turn>tool\n{{content}}<end_of_turn>\n<start_of_turn>model\n"}, stopWords: []string{"<end_of_turn>"},
		replaceEOS: true,
	},
	"phi": {
		system: []slot{"<|system|>\n{{content}}<|end|>\n"}, user: []slot{"<|user|>\n{{content}}<|end|>\n<|assistant|>\n"},
		assistant: []slot{"{{content}}<|end|>\n"}, stopWords: []string{"<|end|>"}, replaceEOS: true,
	},
	"phi4": {
		system:    []slot{"<|im_start|>system<|im_sep|>{{content}}<|im_end|>"},
		user:      []slot{"<|im_start|>user<|im_sep|>{{content}}<|im_end|><|im_start|>assistant<|im_sep|>"},
		assistant: []slot{"{{content}}<|im_end|>"}, stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"phi4_mini": {
		system: []slot{"<|system|>{{content}}<|end|>"}, user: []slot{"<|user|>{{content}}<|end|><|assistant|>"},
		assistant: []slot{"{{content}}<|end|>"}, tools: "<|tool|>{{content}}<|/tool|>", stopWords: []string{"<|end|>"}, replaceEOS: true,
	},
	"phi_small": {
		system: []slot{"<|system|>\n{{content}}<|end|>\n"}, user: []slot{"<|user|>\n{{content}}<|end|>\n<|assistant|>\n"},
		assistant: []slot{"{{content}}<|end|>\n"}, stopWords: []string{"<|end|>"}, replaceEOS: true,
	},
	"pixtral": {
		kind: inFirst, prefix: []slot{bos}, system: []slot{"{{content}}\n\n"}, user: []slot{"[INST]{{content}}[/INST]"},
		observation: []slot{"[TOOL_RESULTS]{\"content\": {{content}}}[/TOOL_RESULTS]"}, function: []slot{"[TOOL_CALLS]{{content}}", eos},
		toolFormat: "mistral",
	},
	"qwen": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", defaultSystem: "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
		stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"qwen2_audio": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		defaultSystem: "You are a helpful assistant.", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"qwen2_omni": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", defaultSystem: "You are a helpful assistant.", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"qwen2_vl": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", defaultSystem: "You are a helpful assistant.", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"qwen3": {
		kind: reasoning, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"qwen3_5": {
		kind: reasoning, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen3_5", stopWords: []string{"<|im_end|>"}, replaceEOS: true, forgets: true,
	},
	"qwen3_5_nothink": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen3_5", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"qwen3_6": {
		kind: reasoning, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen3_5", stopWords: []string{"<|im_end|>"}, replaceEOS: true, forgets: true,
	},
	"qwen3_nothink": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"qwen3_omni": {
		kind: reasoning, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"qwen3_omni_nothink": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"qwen3_vl": {
		kind: reasoning, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"qwen3_vl_nothink": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"sailor": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>question\n{{content}}<|im_end|>\n<|im_start|>answer\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		defaultSystem: "You are an AI assistant named Sailor created by Sea AI Lab. Your answer should be friendly, unbiased, faithful, informative and detailed.",
		stopWords:     []string{"<|im_end|>"},
	},
	"seed_coder": {
		system: []slot{bos, "system\n{{content}}", eos}, user: []slot{bos, "user\n{{content}}", eos, bos, "assistant\n"},
		defaultSystem: "You are an AI programming assistant, utilizing the Seed-Coder model, developed by ByteDance Seed, and you only answer questions related to computer science. For politically sensitive questions, security and privacy issues, and other non-computer science questions, you will refuse to answer.\n\n",
	},
	"seed_oss": {
		kind: reasoning, system: []slot{bos, "system\n{{content}}", eos}, user: []slot{bos, "user\n{{content}}", eos, bos, "assistant\n"},
		function: []slot{bos, "\n{{content}}", eos}, toolFormat: "seed_oss", thought: [2]string{"<seed:think>", "</seed:think>"},
	},
	"skywork_o1": {
		prefix: []slot{bos}, system: []slot{"<|start_header_id|>system<|end_header_id|>\n\n{{content}}<|eot_id|>"},
		user:          []slot{"<|start_header_id|>user<|end_header_id|>\n\n{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
		assistant:     []slot{"{{content}}<|eot_id|>"},
		observation:   []slot{"<|start_header_id|>ipython<|end_header_id|>\n\n{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
		toolFormat:    "llama3",
		defaultSystem: "You are Skywork-o1, a thinking model developed by Skywork AI, specializing in solving complex problems involving mathematics, coding, and logical reasoning through deep thought. When faced with a user's request, you first engage in a lengthy and in-depth thinking process to explore possible solutions to the problem. After completing your thoughts, you then provide a detailed explanation of the solution process in your response.",
		stopWords:     []string{"<|eot_id|>", "<|eom_id|>"},
	},
	"smollm": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		stopWords: []string{"<|im_end|>"},
	},
	"smollm2": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		defaultSystem: "You are a helpful AI assistant named SmolLM, trained by Hugging Face.", stopWords: []string{"<|im_end|>"},
	},
	"solar": {
		system: []slot{"### System:\n{{content}}\n\n"}, user: []slot{"### User:\n{{content}}\n\n### Assistant:\n"}, efficientEOS: true,
	},
	"starchat": {
		system: []slot{"<|system|>\n{{content}}<|end|>\n"}, user: []slot{"<|user|>\n{{content}}<|end|>\n<|assistant|>"},
		assistant: []slot{"{{content}}<|end|>\n"}, stopWords: []string{"<|end|>"},
	},
	"telechat": {
		system: []slot{"<_system>{{content}}<_end>"}, user: []slot{"<_user>{{content}}<_bot>"},
	},
	"telechat2": {
		system: []slot{"<_system>{{content}}"}, user: []slot{"<_user>{{content}}<_bot>"},
		defaultSystem: "你是中国电信星辰语义大模型，英文名是TeleChat，你是由中电信人工智能科技有限公司和中国电信人工智能研究院（TeleAI）研发的人工智能助手。",
	},
	"vicuna": {
		user:          []slot{"USER: {{content}} ASSISTANT:"},
		defaultSystem: "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
		replaceJinja:  true,
	},
	"video_llava": {
		user:          []slot{"USER: {{content}} ASSISTANT:"},
		defaultSystem: "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
	},
	"xuanyuan": {
		user:          []slot{"Human: {{content}} Assistant:"},
		defaultSystem: "以下是用户和人工智能助手之间的对话。用户以Human开头，人工智能助手以Assistant开头，会对人类提出的问题给出有帮助、高质量、详细和礼貌的回答，并且总是拒绝参与与不道德、不安全、有争议、政治敏感等相关的话题、问题和指示。\n",
	},
	"xverse": {
		user: []slot{"Human: {{content}}\n\nAssistant: "},
	},
	"yayi": {
		system: []slot{token("<|System|>"), ":\n{{content}}\n\n"},
		user:   []slot{token("<|Human|>"), ":\n{{content}}\n\n", token("<|YaYi|>"), ":"}, assistant: []slot{"{{content}}\n\n"},
		defaultSystem: "You are a helpful, respectful and honest assistant named YaYi developed by Beijing Wenge Technology Co.,Ltd. Always answer as helpfully as possible, while being safe.  Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. Please ensure that your responses are socially unbiased and positive in nature.\n\nIf a question does not make any sense, or is not factually coherent, explain why instead of answering something not correct. If you don't know the answer to a question, please don't share false information.",
		stopWords:     []string{"<|End|>"},
	},
	"yi": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		stopWords: []string{"<|im_end|>"},
	},
	"yi_vl": {
		user: []slot{"### Human: {{content}}\n### Assistant:"}, assistant: []slot{"{{content}}\n"},
		defaultSystem: "This is a chat between an inquisitive human and an AI assistant. Assume the role of the AI assistant. Read all the images carefully, and respond to the human's questions with informative, helpful, detailed and polite answers. 这是一个好奇的人类和一个人工智能助手之间的对话。假设你扮演这个AI助手的角色。仔细阅读所有的图像，并对人类的问题做出信息丰富、有帮助、详细的和礼貌的回答。\n\n",
		stopWords:     []string{"###"}, efficientEOS: true,
	},
	"youtu": {
		kind: reasoning, prefix: []slot{bos}, user: []slot{"<|User|>{{content}}<|Assistant|>"},
		assistant:   []slot{"{{content}}<|end_of_text|>"},
		observation: []slot{"<tool_response>\n{{content}}\n</tool_response><|Assistant|>"}, function: []slot{content},
		stopWords: []string{"<|end_of_text|>"}, replaceEOS: true, forgets: true,
	},
	"youtu_vl": {
		system:    []slot{"<|begin_of_text|>system\n{{content}}<|end_of_text|>\n"},
		user:      []slot{"<|begin_of_text|>user\n{{content}}<|end_of_text|>\n<|begin_of_text|>assistant\n"},
		assistant: []slot{"{{content}}<|end_of_text|>\n"}, defaultSystem: "You are a helpful assistant.",
		stopWords: []string{"<|end_of_text|>"},
	},
	"yuan": {
		user: []slot{content, token("<sep>")}, assistant: []slot{"{{content}}<eod>\n"}, stopWords: []string{"<eod>"},
	},
	"zephyr": {
		system: []slot{"<|system|>\n{{content}}", eos}, user: []slot{"<|user|>\n{{content}}", eos, "<|assistant|>\n"},
		defaultSystem: "You are Zephyr, a helpful assistant.",
	},
	"ziya": {
		user: []slot{"<human>:{{content}}\n<bot>:"}, assistant: []slot{"{{content}}\n"},
	},
}
