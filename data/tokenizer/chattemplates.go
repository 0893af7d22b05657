package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// extraChatDir is the folder of the chat templates that have names.
const extraChatDir = "additional_chat_templates"

// chatTemplates are the Jinja texts that render conversations. transformers distinguishes a
// tokenizer with one text from one whose texts have names.
type chatTemplates struct {
	text  string            // the only one, or that named default; "" = there is none
	named map[string]string // all by name; nil = there is one text, or none
}

// readChatFiles reads the texts in additional_chat_templates by the files' names.
func readChatFiles(dir string) (map[string]string, error) {
	paths, err := storage.Match(filepath.Join(dir, extraChatDir), "*.jinja")
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", dir, err)
	}
	var named map[string]string
	for _, path := range paths {
		text, err := storage.ReadInput(path, maxFile)
		if err != nil {
			return nil, fmt.Errorf("tokenizer: %w", err)
		}
		if named == nil {
			named = map[string]string{}
		}
		named[strings.TrimSuffix(filepath.Base(path), ".jinja")] = string(text)
	}
	return named, nil
}

// parseChat takes the chat templates of files, where there are any, or those of
// tokenizer_config.json: a text or a list of named ones (transformers 4.52,
// tokenization_utils_base.py).
func parseChat(p *parser, f files, raw json.RawMessage) (c chatTemplates) {
	if f.chats != nil {
		c.named = f.chats
		if f.chat != nil {
			c.named["default"] = string(f.chat)
		}
		c.text = c.named["default"]
		return c
	}
	if f.chat != nil {
		return chatTemplates{text: string(f.chat)}
	}
	var list []struct{ Name, Template string }
	if isNull(raw) || json.Unmarshal(raw, &c.text) == nil || json.Unmarshal(raw, &list) != nil {
		return c
	}
	c.named = map[string]string{}
	for _, t := range list {
		if t.Name == "" || strings.ContainsAny(t.Name, `/\`+string(os.PathSeparator)) || strings.HasPrefix(t.Name, ".") {
			p.fail("chat_template", "the name %q cannot be that of a file", t.Name)
		}
		c.named[t.Name] = t.Template
	}
	c.text = c.named["default"]
	return c
}

// save writes chat_template.jinja, and the templates with other names beside it.
func (c chatTemplates) save(dir string, write func(path string, data []byte) error) error {
	if c.text != "" {
		if err := write(filepath.Join(dir, chatFile), []byte(c.text)); err != nil {
			return err
		}
	}
	for name, text := range c.named {
		if name == "default" {
			continue
		}
		folder := filepath.Join(dir, extraChatDir)
		if dir != "" { // otherwise the names are only asked for
			if err := storage.MkdirAll(folder); err != nil {
				return err
			}
		}
		if err := write(filepath.Join(folder, name+".jinja"), []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// ChatTemplate is the Jinja text that renders a conversation, of several the one named
// default; "" = none.
func (t *Tokenizer) ChatTemplate() string { return t.config.chat.text }

// ToolTemplate is the text that renders a conversation with tools: that named tool_use, where
// there is one.
func (t *Tokenizer) ToolTemplate() string {
	if text, ok := t.config.chat.named["tool_use"]; ok {
		return text
	}
	return t.ChatTemplate()
}

// NamesTemplates reports whether the chat templates have names.
func (t *Tokenizer) NamesTemplates() bool { return t.config.chat.named != nil }

// SetChatTemplate replaces the chat templates by one, which Save writes.
func (t *Tokenizer) SetChatTemplate(jinja string) { t.config.chat = chatTemplates{text: jinja} }
