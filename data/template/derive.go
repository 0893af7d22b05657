package template

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"dataflex.dev/dataflex/data/tokenizer"
)

// Without a template in the config, upstream renders the tokenizer's chat
// template on small conversations and takes the slots from the differences
// (parse_template). Here the chat templates below are known by their hash, with
// the slots that gives; tools then have the default format, nothing is done to
// the EOS and there are no stop words.

// derived holds templates by the SHA-256 of the chat template without white
// space around it.
var derived = map[string]Template{
	// Qwen 2.5 Instruct
	"55b2f4a26ac9ee719330a61a0c39d9e538b0e9322212f048326318cff4f8674a": {
		system: imSystem, user: imUser, assistant: imAssistant,
		defaultSystem: "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
	},
	// Qwen 3
	"87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5": {
		kind: reasoning, system: imSystem, user: imUser, assistant: imAssistant,
	},
	// MiniMind: its generation prompt has the empty thought in it.
	"97c6a9ef3f8d35044f435bb7773f1af160a7328ab6e8d2e9d67702941320a711": {
		system: imSystem, user: []slot{imUser[0] + "<think>\n\n</think>\n\n"}, assistant: imAssistant,
	},
	// Llama 3 Instruct
	"ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122": {
		prefix:    []slot{"<|begin_of_text|>"},
		system:    []slot{"<|start_header_id|>system<|end_header_id|>\n\n{{content}}<|eot_id|>"},
		user:      []slot{headerUser},
		assistant: []slot{"{{content}}<|eot_id|>"},
	},
	// Llama 3.1 Instruct: it has a system block even without a system text, which
	// upstream's differences leave in every user slot.
	"93c0e9aa3629bbd77e68dbc0f5621f6e6b23aa8d74b932595cdb8d64684526d7": {
		prefix:    []slot{"<|begin_of_text|>"},
		system:    []slot{llama31System + "{{content}}<|eot_id|>"},
		user:      []slot{llama31System + "<|eot_id|>" + headerUser},
		assistant: []slot{"{{content}}<|eot_id|>"},
	},
}

var (
	imSystem    = []slot{"<|im_start|>system\n{{content}}<|im_end|>\n"}
	imUser      = []slot{"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"}
	imAssistant = []slot{"{{content}}<|im_end|>\n"}
)

const (
	headerUser slot = "<|start_header_id|>user<|end_header_id|>\n\n{{content}}<|eot_id|>" +
		"<|start_header_id|>assistant<|end_header_id|>\n\n"
	llama31System slot = "<|start_header_id|>system<|end_header_id|>\n\n" +
		"Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
)

// FromChatTemplate returns the template of a config that names none: empty for
// a tokenizer without a chat template, else the one the chat template amounts
// to. A chat template that is not known is an error.
func FromChatTemplate(tok *tokenizer.Tokenizer) (*Template, error) {
	text := strings.TrimSpace(tok.ChatTemplate())
	if text == "" {
		return Get("empty")
	}
	hash := sha256.Sum256([]byte(text))
	t, ok := derived[hex.EncodeToString(hash[:])]
	if !ok {
		return nil, errors.New("template: the config names no template and the tokenizer's chat_template is not one of the known ones " +
			"(Llama 3, Llama 3.1, MiniMind, Qwen 2.5, Qwen 3); set template, for instance to " + hint(text))
	}
	on := true
	t.name, t.thinking = "chat_template", &on
	t.fillIn()
	return &t, nil
}

// hint names a template that may be meant, by the marks in a chat template.
func hint(chat string) string {
	for _, guess := range [][2]string{
		{"<|start_header_id|>", "llama3"}, {"<|im_start|>", "qwen or chatml"}, {"<start_of_turn>", "gemma"}, {"[INST]", "mistral or llama2"},
	} {
		if strings.Contains(chat, guess[0]) {
			return guess[1]
		}
	}
	return "default"
}
