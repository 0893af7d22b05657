package template

// Templates from l to n; Template documents the defaults of missing fields.
var tableLN = map[string]Template{
	"lfm2": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>tool\n<|tool_response_start|>{{content}}<|tool_response_end|><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "lfm2", toolCall: [2]string{"<|tool_call_start|>", "<|tool_call_end|>"},
		defaultSystem: "You are a helpful AI assistant.", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"lfm2_vl": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>tool\n<|tool_response_start|>{{content}}<|tool_response_end|><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "lfm2", toolCall: [2]string{"<|tool_call_start|>", "<|tool_call_end|>"},
		defaultSystem: "You are a helpful multimodal assistant by Liquid AI.", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"llama2": {
		kind: inFirst, system: []slot{"<<SYS>>\n{{content}}\n<</SYS>>\n\n"}, user: []slot{bos, "[INST] {{content}} [/INST]"},
	},
	"llama2_zh": {
		kind: inFirst, system: []slot{"<<SYS>>\n{{content}}\n<</SYS>>\n\n"}, user: []slot{bos, "[INST] {{content}} [/INST]"},
		defaultSystem: "You are a helpful assistant. 你是一个乐于助人的助手。",
	},
	"llama3": {
		prefix: []slot{bos}, system: []slot{"<|start_header_id|>system<|end_header_id|>\n\n{{content}}<|eot_id|>"},
		user:        []slot{"<|start_header_id|>user<|end_header_id|>\n\n{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
		assistant:   []slot{"{{content}}<|eot_id|>"},
		observation: []slot{"<|start_header_id|>ipython<|end_header_id|>\n\n{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
		toolFormat:  "llama3", stopWords: []string{"<|eot_id|>", "<|eom_id|>"}, replaceEOS: true,
	},
	"llama4": {
		prefix: []slot{bos}, system: []slot{"<|header_start|>system<|header_end|>\n\n{{content}}<|eot|>"},
		user:        []slot{"<|header_start|>user<|header_end|>\n\n{{content}}<|eot|><|header_start|>assistant<|header_end|>\n\n"},
		assistant:   []slot{"{{content}}<|eot|>"},
		observation: []slot{"<|header_start|>ipython<|header_end|>\n\n{{content}}<|eot|><|header_start|>assistant<|header_end|>\n\n"},
		toolFormat:  "llama3", stopWords: []string{"<|eot|>", "<|eom|>"}, replaceEOS: true,
	},
	"llava": {
		user:          []slot{"USER: {{content}} ASSISTANT:"},
		defaultSystem: "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
	},
	"llava_next": {
		user:          []slot{"USER: {{content}} ASSISTANT:"},
		defaultSystem: "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
	},
	"llava_next_llama3": {
		prefix: []slot{bos}, system: []slot{"<|start_header_id|>system<|end_header_id|>\n\n{{content}}<|eot_id|>"},
		user:        []slot{"<|start_header_id|>user<|end_header_id|>\n\n{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
		assistant:   []slot{"{{content}}<|eot_id|>"},
		observation: []slot{"<|start_header_id|>ipython<|end_header_id|>\n\n{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
		toolFormat:  "llama3", stopWords: []string{"<|eot_id|>", "<|eom_id|>"}, replaceEOS: true,
	},
	"llava_next_mistral": {
		kind: inFirst, prefix: []slot{bos}, system: []slot{"{{content}}\n\n"}, user: []slot{"[INST] {{content}}[/INST]"},
		assistant: []slot{" {{content}}", eos}, observation: []slot{"[TOOL_RESULTS] {\"content\": {{content}}}[/TOOL_RESULTS]"},
		function: []slot{"[TOOL_CALLS] {{content}}", eos}, toolFormat: "mistral",
	},
	"llava_next_qwen": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", defaultSystem: "You are a helpful assistant.", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"llava_next_video": {
		user:          []slot{"USER: {{content}} ASSISTANT:"},
		defaultSystem: "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
	},
	"llava_next_video_mistral": {
		kind: inFirst, prefix: []slot{bos}, system: []slot{"{{content}}\n\n"}, user: []slot{"[INST] {{content}}[/INST]"},
		assistant: []slot{" {{content}}", eos}, observation: []slot{"[TOOL_RESULTS] {\"content\": {{content}}}[/TOOL_RESULTS]"},
		function: []slot{"[TOOL_CALLS] {{content}}", eos}, toolFormat: "mistral",
	},
	"llava_next_video_yi": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		stopWords: []string{"<|im_end|>"},
	},
	"llava_next_yi": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		stopWords: []string{"<|im_end|>"},
	},
	"marco": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation:   []slot{"<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n"},
		defaultSystem: "你是一个经过良好训练的AI助手，你的名字是Marco-o1.由阿里国际数字商业集团的AI Business创造.\n## 重要！！！！！\n当你回答问题时，你的思考应该在<Thought>内完成，<Output>内输出你的结果。\n<Thought>应该尽可能是英文，但是有2个特例，一个是对原文中的引用，另一个是是数学应该使用markdown格式，<Output>内的输出需要遵循用户输入的语言。\n",
		stopWords:     []string{"<|im_end|>"},
	},
	"mimo": {
		kind: reasoning, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", defaultSystem: "You are a helpful assistant.", stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"mimo_v2": {
		kind: reasoning, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", defaultSystem: "You are MiMo, a helpful AI assistant engineered by Xiaomi.", stopWords: []string{"<|im_end|>"},
		thought: [2]string{"<think>", "</think>"}, replaceEOS: true,
	},
	"mimo_vl": {
		kind: reasoning, system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user: []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", defaultSystem: "You are MiMo, an AI assistant developed by Xiaomi.", stopWords: []string{"<|im_end|>"},
		replaceEOS: true,
	},
	"minicpm_o": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		defaultSystem: "You are a helpful assistant. You can accept audio and text input and output voice and text.",
		stopWords:     []string{"<|im_end|>"},
	},
	"minicpm_v": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		defaultSystem: "You are a helpful assistant.", stopWords: []string{"<|im_end|>"},
	},
	"minicpm_v_4_6": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		defaultSystem: "You are a helpful assistant.", stopWords: []string{"<|im_end|>"},
	},
	"minimax1": {
		system:      []slot{"<beginning_of_sentence>system ai_setting=assistant\n{{content}}<end_of_sentence>\n"},
		user:        []slot{"<beginning_of_sentence>user name=user\n{{content}}<end_of_sentence>\n<beginning_of_sentence>ai name=assistant\n"},
		assistant:   []slot{"{{content}}<end_of_sentence>\n"},
		observation: []slot{"<beginning_of_sentence>tool name=tools\n{{content}}<end_of_sentence>\n<beginning_of_sentence>ai name=assistant\n"},
		toolFormat:  "minimax1", defaultSystem: "You are a helpful assistant.", stopWords: []string{"<end_of_sentence>"},
	},
	"minimax2": {
		kind: reasoning, system: []slot{"]~!b[]~b]system\n{{content}}[e~[\n"}, user: []slot{"]~b]user\n{{content}}[e~[\n]~b]ai\n"},
		assistant: []slot{"{{content}}[e~[\n"}, observation: []slot{"]~b]tool\n<response>{{content}}</response>[e~[\n]~b]ai\n"},
		toolFormat: "minimax2", defaultSystem: "You are a helpful assistant. Your name is MiniMax-M2.1 and is built by MiniMax.",
		stopWords: []string{"[e~["},
	},
	"ministral": {
		kind: inFirst, prefix: []slot{bos}, system: []slot{"{{content}}\n\n"}, user: []slot{"[INST]{{content}}[/INST]"},
		observation: []slot{"[TOOL_RESULTS]{\"content\": {{content}}}[/TOOL_RESULTS]"}, function: []slot{"[TOOL_CALLS]{{content}}", eos},
		toolFormat: "mistral",
	},
	"ministral3": {
		kind: inFirst, prefix: []slot{bos}, system: []slot{"{{content}}\n\n"}, user: []slot{"[INST]{{content}}[/INST]"},
		observation: []slot{"[TOOL_RESULTS]{\"content\": {{content}}}[/TOOL_RESULTS]"}, function: []slot{"[TOOL_CALLS]{{content}}", eos},
		toolFormat: "mistral",
	},
	"mistral": {
		kind: inFirst, prefix: []slot{bos}, system: []slot{"{{content}}\n\n"}, user: []slot{"[INST] {{content}}[/INST]"},
		assistant: []slot{" {{content}}", eos}, observation: []slot{"[TOOL_RESULTS] {\"content\": {{content}}}[/TOOL_RESULTS]"},
		function: []slot{"[TOOL_CALLS] {{content}}", eos}, toolFormat: "mistral",
	},
	"mistral_small": {
		prefix: []slot{bos}, system: []slot{"[SYSTEM_PROMPT]{{content}}[/SYSTEM_PROMPT]"}, user: []slot{"[INST]{{content}}[/INST]"},
		observation: []slot{"[TOOL_RESULTS]{\"content\": {{content}}}[/TOOL_RESULTS]"}, function: []slot{"[TOOL_CALLS]{{content}}", eos},
		toolFormat: "mistral",
	},
	"mllama": {
		prefix: []slot{bos}, system: []slot{"<|start_header_id|>system<|end_header_id|>\n\n{{content}}<|eot_id|>"},
		user:        []slot{"<|start_header_id|>user<|end_header_id|>\n\n{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
		assistant:   []slot{"{{content}}<|eot_id|>"},
		observation: []slot{"<|start_header_id|>ipython<|end_header_id|>\n\n{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
		toolFormat:  "llama3", stopWords: []string{"<|eot_id|>", "<|eom_id|>"}, replaceEOS: true,
	},
	"moonlight": {
		system:    []slot{"<|im_system|>system<|im_middle|>{{content}}<|im_end|>"},
		user:      []slot{"<|im_user|>user<|im_middle|>{{content}}<|im_end|><|im_assistant|>assistant<|im_middle|>"},
		assistant: []slot{"{{content}}<|im_end|>"}, defaultSystem: "You are a helpful assistant provided by Moonshot-AI.",
		stopWords: []string{"<|im_end|>"}, replaceEOS: true,
	},
	"moss_vl": {
		system: []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"},
		user:   []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}, assistant: []slot{"{{content}}<|im_end|>\n"},
		observation: []slot{"<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"},
		toolFormat:  "qwen", stopWords: []string{"<|im_end|>"}, replaceEOS: true, trimTools: true,
	},
}
