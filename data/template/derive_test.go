package template

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/tokenizer"
)

func TestFromChatTemplate(t *testing.T) {
	tok := load(t, "llama3")
	tmpl, err := FromChatTemplate(tok)
	if err != nil || tmpl.Name() != "empty" {
		t.Errorf("no chat template: %v, %v", tmpl, err)
	}
	tok.SetChatTemplate("{{ '<|im_start|>' }}")
	if _, err := FromChatTemplate(tok); err == nil || !strings.Contains(err.Error(), "qwen or chatml") || !strings.Contains(err.Error(), "no place for its content") {
		t.Errorf("a chat template without content: %v", err)
	}
	if tmpl, err := Find("", tok, true); err != nil || tmpl.Name() != "empty" {
		t.Errorf("in pre-training: %v, %v", tmpl, err)
	}
}

// As in LLaMA-Factory, chat templates that have names do not give a template, and stay.
func TestNamedChatTemplates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model [v2]*")
	err := os.CopyFS(dir, os.DirFS("../tokenizer/testdata/llama3"))
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, "additional_chat_templates"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "additional_chat_templates", "tool_use.jinja"), []byte("T"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := FromChatTemplate(tok)
	if err != nil || tmpl.Name() != "empty" {
		t.Fatalf("%v, %v", tmpl, err)
	}
	tmpl.FixTokenizer(tok)
	if tok.ChatTemplate() != "" || tok.ToolTemplate() != "T" {
		t.Errorf("they became %q and %q", tok.ChatTemplate(), tok.ToolTemplate())
	}
}

// Chat templates of our own, and the slots that LLaMA-Factory 0.9.5's parse_template derives
// from them (its output with transformers 4.52.4 on these tokenizers).
func TestDerive(t *testing.T) {
	for _, c := range []struct {
		tok, chat               string
		prefix                  []slot
		system, user, assistant slot
		defaultSystem           string
		kind                    kind
	}{
		{
			"qwen2", "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}{%- for m in messages %}\n" +
				"    {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' ~ '\n' }}\n{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
			nil, "<|im_start|>system\n{{content}}<|im_end|>\n", "<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n", "{{content}}<|im_end|>\n", "Be kind.", plain,
		},
		{
			"qwen2", "{%- for m in messages %}[{{ m.role | upper }}]{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}[/]\n{% endfor %}" +
				"{%- if add_generation_prompt %}[ASSISTANT]{% endif %}",
			nil, "[SYSTEM]{{content}}[/]\n", "[USER]{{content}}[/]\n[ASSISTANT]", "{{content}}[/]\n", "", reasoning,
		},
		{
			"llama3", "{{ bos_token }}{% set ns = namespace(n=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.n = ns.n + 1 %}U{{ ns.n }}: {{ m.content | trim }} " +
				"{% elif m['role'] == 'assistant' %}A: {{ m.content }}{{ eos_token }}{% else %}S: {{ m['content'] }} {% endif %}{% endfor %}{% if add_generation_prompt %}A: {% endif %}",
			[]slot{"<|begin|>"},
			"S: {{content}} ", "U1: {{content}} A: ", "{{content}}<|end|>", "", plain,
		},
	} {
		dir := t.TempDir()
		model, err := os.ReadFile(filepath.Join("..", "tokenizer", "testdata", c.tok, "tokenizer.json"))
		if err == nil {
			err = errors.Join(os.WriteFile(filepath.Join(dir, "tokenizer.json"), model, 0o644),
				os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(`{"bos_token": "<|begin|>", "eos_token": "<|end|>"}`), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
		tok, err := tokenizer.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		tok.SetChatTemplate(c.chat)
		got, err := FromChatTemplate(tok)
		if err != nil {
			t.Error(err)
			continue
		}
		if !slices.Equal(got.prefix, c.prefix) || got.system[0] != c.system || got.user[0] != c.user || got.assistant[0] != c.assistant ||
			got.defaultSystem != c.defaultSystem || got.kind != c.kind {
			t.Errorf("got %q %q %q %q %q %d", got.prefix, got.system, got.user, got.assistant, got.defaultSystem, got.kind)
		}
	}
}

// LLaMA-Factory 0.9.5's parse_template on real chat templates, and the ids and labels of four
// conversations formatted by it.
func TestSharedParsed(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1721997296") // when the texts were recorded
	tok, err := tokenizer.Load("../../../shared/golden/models/tiny-llama")
	if err != nil {
		t.Skip("no shared data: ", err)
	}
	texts := map[string]string{}
	eachLine(t, shared+"chat-templates/templates.jsonl.gz", func(line []byte) {
		var x struct{ Name, Template string }
		if err := json.Unmarshal(line, &x); err != nil {
			t.Fatal(err)
		}
		texts[x.Name] = x.Template
	})
	var rows []struct {
		Messages []struct {
			Role    data.Role
			Content string
		}
		System, Tools string
	}
	raw, err := os.ReadFile(shared + "chat-templates/rows.json")
	if err == nil {
		err = json.Unmarshal(raw, &rows)
	}
	if err != nil {
		t.Fatal(err)
	}
	eachLine(t, shared+"chat-templates/parsed.jsonl.gz", func(line []byte) {
		var want struct {
			Template, Kind, Error, DefaultSystem string
			Prefix, System, User, Assistant      []slot
			Rows                                 []struct {
				InputIDs []int32 `json:"input_ids"`
				Error    string
			}
		}
		line = bytes.Replace(line, []byte(`"default_system"`), []byte(`"DefaultSystem"`), 1)
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
		tok.SetChatTemplate(texts[want.Template])
		got, err := FromChatTemplate(tok)
		if (err != nil) != (want.Error != "") {
			t.Errorf("%s: %v, want %q", want.Template, err, want.Error)
		}
		if err != nil || want.Error != "" {
			return
		}
		if !slices.Equal(got.prefix, want.Prefix) || !slices.Equal(got.system, want.System) || !slices.Equal(got.user, want.User) ||
			!slices.Equal(got.assistant, want.Assistant) || got.defaultSystem != want.DefaultSystem || (got.kind == reasoning) != (want.Kind == "ReasoningTemplate") {
			t.Errorf("%s:\n got %q %q %q %q %q\nwant %q %q %q %q %q", want.Template, got.prefix, got.system, got.user, got.assistant, got.defaultSystem,
				want.Prefix, want.System, want.User, want.Assistant, want.DefaultSystem)
		}
		for i, r := range rows {
			messages := make([]data.Message, len(r.Messages))
			for k, m := range r.Messages {
				messages[k] = data.Message{Role: m.Role, Content: m.Content}
			}
			pairs, err := got.Encode(tok, &data.Sample{Prompt: messages, System: r.System, Tools: r.Tools})
			if err != nil {
				t.Errorf("%s, row %d: %v", want.Template, i, err)
				continue
			}
			var ids []int32
			for _, p := range pairs {
				ids = append(append(ids, p.Source...), p.Target...)
			}
			if !slices.Equal(ids, want.Rows[i].InputIDs) {
				t.Errorf("%s, row %d:\n got %v\nwant %v", want.Template, i, ids, want.Rows[i].InputIDs)
			}
		}
	})
}

func eachLine(t *testing.T, path string, f func(line []byte)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Skip("no shared data: ", err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		f(s.Bytes())
	}
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
}
