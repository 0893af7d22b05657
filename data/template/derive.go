package template

import (
	"fmt"
	"regexp"
	"strings"

	"dataflex.dev/dataflex/data/jinja"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/tokenizer"
)

// FromChatTemplate returns the template of a configuration that names none. Without a chat
// template, or with several named ones, it is empty, as in LLaMA-Factory 0.9.4. Otherwise it is
// what LLaMA-Factory's parse_template derives: four small conversations are rendered, and the
// slots are the differences between them. Tools then have the default format, the EOS is
// unchanged and there are no stop words. A chat template from which no slots can be derived is
// an error.
func FromChatTemplate(tok *tokenizer.Tokenizer) (*Template, error) {
	text := tok.ChatTemplate()
	if strings.TrimSpace(text) == "" || tok.NamesTemplates() {
		return Get("empty")
	}
	t, err := derive(tok, text)
	if err != nil {
		return nil, fmt.Errorf("template: the config names no template, and none can be derived from the tokenizer's chat_template: %w; set template, for instance to %s", err, hint(text))
	}
	on := true
	t.name, t.thinking = "chat_template", &on
	t.fillIn()
	return t, nil
}

// Find returns the template of a config: the named one, or the chat template's. Pre-training
// does not format conversations, so there a chat template from which no slots can be derived
// counts as none.
func Find(name string, tok *tokenizer.Tokenizer, pretrain bool) (*Template, error) {
	if name != "" {
		return Get(name)
	}
	t, err := FromChatTemplate(tok)
	if err != nil && pretrain {
		return Get("empty")
	}
	return t, err
}

// deriver renders the conversations from which slots are derived.
type deriver struct {
	chat *jinja.Template
	tok  *tokenizer.Tokenizer
	err  error
}

// message is a message of a conversation in the form that chat templates receive.
func message(role, text string) any {
	return pyjson.Object{{Key: "role", Value: role}, {Key: "content", Value: text}}
}

func (d *deriver) render(generate bool, messages ...any) []rune {
	if d.err != nil {
		return nil
	}
	vars := ChatVariables(d.tok)
	vars["messages"], vars["add_generation_prompt"] = messages, generate
	text, err := d.chat.Render(vars, jinja.Options{Now: today()})
	d.err = err
	return []rune(text)
}

// ChatVariables are the variables that transformers gives every chat template beside the
// messages: the tokenizer's special tokens, no tools and no documents.
func ChatVariables(tok *tokenizer.Tokenizer) map[string]any {
	vars := map[string]any{"tools": nil, "documents": nil}
	for name, token := range tok.SpecialTokens() {
		vars[name] = token
	}
	return vars
}

// derive is parse_template (LLaMA-Factory 0.9.4 data/template.py). It cuts texts at the lengths
// of others, in characters, whatever the text is.
func derive(tok *tokenizer.Tokenizer, text string) (*Template, error) {
	chat, err := jinja.Compile(text)
	if err != nil {
		return nil, err
	}
	d := &deriver{chat: chat, tok: tok}
	prefix := tok.Decode(tok.EncodeSpecial(""), false)
	n := len([]rune(prefix))
	system := after(d.render(false, message("system", content)), n)
	bare := after(d.render(true, message("system", ""), message("user", content)), n)
	user := after(d.render(true, message("user", content)), n)
	answer := after(d.render(false, message("user", content), message("assistant", content)), n+len(user))
	if d.err != nil {
		return nil, d.err
	}
	t := &Template{}
	assistant := string(answer)
	if strings.Contains(assistant, "<think>") {
		t.kind = reasoning
	}
	assistant = strings.TrimLeft(strings.NewReplacer("<think>", "", "</think>", "").Replace(assistant), "\n")
	if len(user) > len(bare) {
		t.defaultSystem = difference(bare, user)
		sole := []rune(strings.Replace(string(system), content, t.defaultSystem, 1))
		user = after(user, len(sole))
	}
	for _, s := range []struct{ name, text string }{{"user", string(user)}, {"assistant", assistant}, {"system", string(system)}} {
		if !placeholder.MatchString(s.text) {
			return nil, fmt.Errorf("the %s's slot, %q, has no place for its content", s.name, s.text)
		}
	}
	t.system, t.user, t.assistant = []slot{slot(system)}, []slot{slot(user)}, []slot{slot(assistant)}
	if prefix != "" {
		t.prefix = []slot{slot(prefix)}
	}
	return t, nil
}

// placeholder is the pattern that upstream's formatters look for.
var placeholder = regexp.MustCompile(`\{\{[a-zA-Z_][a-zA-Z0-9_]*\}\}`)

func after(text []rune, n int) []rune { return text[min(n, len(text)):] }

// difference is what remains of long when short is removed from it, character by character
// (upstream's find_diff).
func difference(short, long []rune) string {
	var out []rune
	i := 0
	for _, r := range long {
		if i == len(short) {
			break
		}
		if r == short[i] {
			i++
		} else {
			out = append(out, r)
		}
	}
	return string(out)
}

// hint names the template that is probably right, by the special tokens in a chat template.
func hint(chat string) string {
	for _, guess := range [][2]string{
		{"<|start_header_id|>", "llama3"},
		{"<|turn>", "gemma4"},
		{"<|tool_list_start|>", "lfm2"},
		{"<|channel|>", "gpt_oss"},
		{"<function=", "qwen3_5 or qwen3_5_nothink"},
		{"<|im_start|>", "qwen or chatml"},
		{"<start_of_turn>", "gemma"},
		{"[INST]", "mistral or llama2"},
	} {
		if strings.Contains(chat, guess[0]) {
			return guess[1]
		}
	}
	return "default"
}
