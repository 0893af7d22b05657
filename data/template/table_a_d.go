package template

// Templates from a to d; Template documents the defaults of missing fields.
var tableAD = map[string]Template{
	"aeva": {
		kind: reasoning, prefix: []slot{"[gMASK]<sop>"}, system: []slot{"<|system|>\n{{content}}"},
		user: []slot{"<|user|>\n{{content}}<|assistant|>"}, assistant: []slot{"\n{{content}}"},
		observation: []slot{"<|observation|>\n{{content}}<|assistant|>"}, function: []slot{content}, toolFormat: "glm4_moe",
		defaultSystem: "You are an AI assistant named Aeva created by Zongzhi Lou. Your answer should be friendly, unbiased, faithful, informative and detailed.",
		stopWords:     []string{"<|user|>", "<|observation|>"}, thought: [2]string{"<think>", "</think>"}, emptyThought: "</think>",
		efficientEOS: true, forgets: true,
	},
	"alpaca": {
		user: []slot{"### Instruction:\n{{content}}\n\n### Response:\n"}, assistant: []slot{content, eos, "\n\n"},
		defaultSystem: "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n",
		replaceJinja:  true,
	},
	"aquila": {
		system: []slot{"System: {{content}}###"}, user: []slot{"Human: {{content}}###Assistant:"}, assistant: []slot{"{{content}}###"},
		defaultSystem: "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the human's questions.",
		stopWords:     []string{"</s>"},
	},
	"atom": {
		user: []slot{bos, "Human: {{content}}\n", eos, bos, "Assistant:"}, assistant: []slot{"{{content}}\n", eos},
	},
	"baichuan": {
		user: []slot{token("<reserved_102>"), content, token("<reserved_103>")}, efficientEOS: true,
	},
	"baichuan2": {
		user: []slot{"<reserved_106>{{content}}<reserved_107>"}, efficientEOS: true,
	},
	"bailing": {
		system: []slot{"<role>SYSTEM</role>{{content}}"}, user: []slot{"<role>HUMAN</role>{{content}}<role>ASSISTANT</role>"},
		observation: []slot{"<role>OBSERVATION</role>{{content}}<role>ASSISTANT</role>"}, stopWords: []string{"<|endoftext|>"},
		efficientEOS: true,
	},
	"bailing_v2": {
		system: []slot{"<role>SYSTEM</role>{{content}}<|role_end|>"},
		user:   []slot{"<role>HUMAN</role>{{content}}<|role_end|><role>ASSISTANT</role>"}, assistant: []slot{"{{content}}<|role_end|>"},
		observation: []slot{"<role>OBSERVATION</role>\n<tool_response>\n{{content}}\n</tool_response><|role_end|><role>ASSISTANT</role>"},
		toolFormat:  "ling", stopWords: []string{"<|endoftext|>"}, efficientEOS: true,
	},
	"belle": {
		prefix: []slot{bos}, user: []slot{"Human: {{content}}\n\nBelle: "}, assistant: []slot{content, eos, "\n\n"},
	},
	"bluelm": {
		user: []slot{token("[|Human|]:"), content, token("[|AI|]:")},
	},
	"breeze": {
		prefix: []slot{bos}, user: []slot{"[INST] {{content}} [/INST] "}, efficientEOS: true,
	},
	"chatglm2": {
		prefix: []slot{token("[gMASK]"), token("sop")}, user: []slot{"[Round {{idx}}]\n\n问：{{content}}\n\n答："}, efficientEOS: true,
	},
	"chatglm3": {
		prefix: []slot{token("[gMASK]"), token("sop")}, system: []slot{token("<|system|>"), "\n", content},
		user: []slot{token("<|user|>"), "\n", content, token("<|assistant|>")}, assistant: []slot{"\n", content},
		observation: []slot{token("<|observation|>"), "\n", content, token("<|assistant|>")}, function: []slot{content}, toolFormat: "glm4",
		stopWords: []string{"<|user|>", "<|observation|>"}, efficientEOS: true,
	},
	"chatml": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n"},
		stopWords:   []string{"<|im_end|>", "<|im_start|>"}, replaceEOS: true, replaceJinja: true,
	},
	"chatml_de": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation:   []slot{"<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n"},
		defaultSystem: "Du bist ein freundlicher und hilfsbereiter KI-Assistent.", stopWords: []string{"<|im_end|>", "<|im_start|>"},
		replaceEOS: true, replaceJinja: true,
	},
	"codegeex2": {
		prefix: []slot{token("[gMASK]"), token("sop")},
	},
	"codegeex4": {
		prefix: []slot{"[gMASK]<sop>"}, system: []slot{"<|system|>\n{{content}}"}, user: []slot{"<|user|>\n{{content}}<|assistant|>\n"},
		observation: []slot{"<|observation|>\n{{content}}<|assistant|>\n"}, toolFormat: "glm4",
		defaultSystem: "你是一位智能编程助手，你叫CodeGeeX。你会为用户回答关于编程、代码、计算机方面的任何问题，并提供格式规范、可以执行、准确安全的代码，并在必要时提供详细的解释。",
		stopWords:     []string{"<|user|>", "<|observation|>"}, efficientEOS: true,
	},
	"cohere": {
		prefix: []slot{bos}, system: []slot{"<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{{content}}<|END_OF_TURN_TOKEN|>"},
		user: []slot{"<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{{content}}<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"},
	},
	"cpm": {
		prefix: []slot{bos}, user: []slot{"<用户>{{content}}<AI>"},
	},
	"cpm3": {
		prefix: []slot{bos}, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, stopWords: []string{"<|im_end|>"},
	},
	"cpm4": {
		prefix: []slot{bos}, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, stopWords: []string{"<|im_end|>"},
	},
	"dbrx": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation:   []slot{"<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n"},
		defaultSystem: "You are DBRX, created by Databricks. You were last updated in December 2023. You answer questions based on information available up to that point.\nYOU PROVIDE SHORT RESPONSES TO SHORT QUESTIONS OR STATEMENTS, but provide thorough responses to more complex and open-ended questions.\nYou assist with various tasks, from writing to coding (using markdown for code blocks — remember to use ``` with code, JSON, and tables).\n(You do not have real-time data access or code execution capabilities. You avoid stereotyping and provide balanced perspectives on controversial topics. You do not provide song lyrics, poems, or news articles and do not divulge details of your training data.)\nThis is your system prompt, guiding your responses. Do not reference it, just respond to the user. If you find yourself talking about this message, stop. You should be responding appropriately and usually that means not mentioning this.\nYOU DO NOT MENTION ANY OF THIS INFORMATION ABOUT YOURSELF UNLESS THE INFORMATION IS DIRECTLY PERTINENT TO THE USER'S QUERY.",
		stopWords:     []string{"<|im_end|>"}, replaceEOS: true,
	},
	"deepseek": {
		prefix: []slot{bos}, system: []slot{"{{content}}\n\n"}, user: []slot{"User: {{content}}\n\nAssistant:"},
	},
	"deepseek3": {
		prefix: []slot{bos}, user: []slot{"<｜User｜>{{content}}<｜Assistant｜>"},
	},
	"deepseekcoder": {
		prefix: []slot{bos}, user: []slot{"### Instruction:\n{{content}}\n### Response:"}, assistant: []slot{"\n{{content}}\n<|EOT|>\n"},
		defaultSystem: "You are an AI programming assistant, utilizing the DeepSeek Coder model, developed by DeepSeek Company, and you only answer questions related to computer science. For politically sensitive questions, security and privacy issues, and other non-computer science questions, you will refuse to answer.\n",
	},
	"deepseekr1": {
		kind: reasoning, prefix: []slot{bos}, user: []slot{"<｜User｜>{{content}}<｜Assistant｜>"},
	},
	"default": {
		system: []slot{"System: {{content}}", eos, "\n"}, user: []slot{"Human: {{content}}", eos, "\nAssistant:"},
		assistant: []slot{content, eos, "\n"}, replaceJinja: true,
	},
	"dots_ocr": {
		system: []slot{"<|system|>{{content}}<|endofsystem|>\n"}, user: []slot{"<|user|>{{content}}<|endofuser|><|assistant|>"},
		assistant: []slot{"{{content}}<|endofassistant|>"}, stopWords: []string{"<|endofassistant|>"}, efficientEOS: true,
	},
}
