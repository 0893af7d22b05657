package template

import (
	"fmt"
	"strings"

	"dataflex.dev/dataflex/data/tokenizer"
)

// FixTokenizer adapts tok's end-of-sequence and padding tokens to t: the EOS is replaced where
// the template does that, missing EOS and padding tokens are set, the other stop words become
// special tokens, and a chat template is written where there is none or t has its own. It
// returns the number of tokens added to the vocabulary: if there are any, the embedding must
// grow (resize_vocab).
func (t *Template) FixTokenizer(tok *tokenizer.Tokenizer) (added int) {
	stop := t.stopWords
	if t.replaceEOS {
		if current, _, ok := tok.EOS(); !ok || current != stop[0] {
			added += tok.SetEOS(stop[0])
		}
		stop = stop[1:]
	}
	if _, _, ok := tok.EOS(); !ok {
		added += tok.SetEOS("<|endoftext|>")
	}
	if _, _, ok := tok.Pad(); !ok {
		end, _, _ := tok.EOS()
		added += tok.SetPad(end)
	}
	added += tok.AddSpecial(stop...)
	tok.SetPaddingSide("right") // the side that training pads on, whatever the files say
	if tok.ChatTemplate() == "" && !tok.NamesTemplates() || t.replaceJinja {
		if jinja, err := t.Jinja(tok); err == nil {
			tok.SetChatTemplate(jinja)
		}
	}
	return added
}

// Jinja is the template as a chat template of transformers, without thoughts and tools. Slots
// that are one token cannot be expressed in Jinja.
func (t *Template) Jinja(tok Tokenizer) (string, error) {
	var err error
	join := func(slots []slot, name string) string {
		text, e := jinjaSlots(slots, tok, name)
		if e != nil {
			err = fmt.Errorf("template %s: %w", t.name, e)
		}
		return text
	}
	prefix, system := join(t.prefix, ""), join(t.system, "system_message")
	user, assistant := join(t.user, "content"), join(t.assistant, "content")
	var b strings.Builder
	if prefix != "" {
		b.WriteString("{{ " + prefix + " }}")
	}
	if t.defaultSystem != "" {
		b.WriteString("{% set system_message = '" + jinjaEscape(t.defaultSystem) + "' %}")
	}
	b.WriteString("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}" +
		"{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% endif %}")
	if t.kind != inFirst {
		b.WriteString("{% if system_message is defined %}{{ " + system + " }}{% endif %}")
	}
	b.WriteString("{% for message in loop_messages %}")
	if t.kind == inFirst {
		b.WriteString("{% if loop.index0 == 0 and system_message is defined %}{% set content = " + system +
			" + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}")
	} else {
		b.WriteString("{% set content = message['content'] %}")
	}
	b.WriteString("{% if message['role'] == 'user' %}{{ " + user +
		" }}{% elif message['role'] == 'assistant' %}{{ " + assistant + " }}{% endif %}{% endfor %}")
	return b.String(), err
}

// jinjaSlots is slots as a concatenation of strings, with the variable name for {{content}}.
func jinjaSlots(slots []slot, tok Tokenizer, name string) (string, error) {
	var parts []string
	text := func(s string) {
		if s != "" {
			parts = append(parts, "'"+jinjaEscape(s)+"'")
		}
	}
	for _, s := range slots {
		switch {
		case s == bos:
			if token, _, ok := tok.BOS(); ok {
				text(token)
			}
		case s == eos:
			if token, _, ok := tok.EOS(); ok {
				text(token)
			}
		case strings.HasPrefix(string(s), tokenMark):
			return "", fmt.Errorf("the token %q cannot be written in Jinja", string(s[1:]))
		default:
			before, after, found := strings.Cut(string(s), content)
			text(before)
			if found {
				parts = append(parts, name)
				text(after)
			}
		}
	}
	return strings.Join(parts, " + "), nil
}

func jinjaEscape(s string) string { return strings.ReplaceAll(s, "'", `\'`) }
