package tokenizer

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/gguf"
)

// throughGGUF writes a tokenizer into a GGUF file and reads it again.
func throughGGUF(t *testing.T, tok *Tokenizer, rows int) *Tokenizer {
	t.Helper()
	values, err := tok.GGUF(rows)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := gguf.Write(&b, append(values, gguf.Value{Key: "general.architecture", Value: "llama"}), nil, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// A written file gives the recorded ids of the Hugging Face library, except for tokens with
// flags that GGUF cannot store.
func TestWriteGGUF(t *testing.T) {
	for _, name := range []string{"digits", "llama3", "qwen2"} {
		tok := load(t, name)
		again := throughGGUF(t, tok, 700)
		n := 0
		for _, v := range readVectors(t, filepath.Join("testdata", name, "vectors.jsonl")) {
			if slices.ContainsFunc([]string{"<left>", "<right>", "word", "<n>"}, func(s string) bool { return strings.Contains(v.Text, s) }) {
				continue
			}
			n++
			if got := again.Encode(v.Text); !slices.Equal(got, v.IDs) {
				t.Errorf("%s: Encode(%q):\n got %v\nwant %v", name, v.Text, got, v.IDs)
			}
		}
		if n < 50 {
			t.Errorf("%s: only %d texts", name, n)
		}
	}
}

// A tokenizer.model of SentencePiece's whose scores follow from its merges.
func TestWriteGGUFPieces(t *testing.T) {
	text, err := os.ReadFile("testdata/kinds.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Texts  []string
		Models map[string][]byte
		Kinds  []struct {
			Name string
			IDs  [][]int32
		}
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	model, err := convertPieces(recorded.Models["llama"], "LlamaTokenizer", &config{})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := files{model: model, config: []byte(`{"unk_token": "<unk>"}`)}.parse()
	if err != nil {
		t.Fatal(err)
	}
	again := throughGGUF(t, tok, tok.size())
	for _, k := range recorded.Kinds {
		if k.Name != "llama's tokenizer.model" {
			continue
		}
		for i, text := range recorded.Texts {
			if got := again.Encode(text); !slices.Equal(got, k.IDs[i]) {
				t.Errorf("%q: %v, want %v", text, got, k.IDs[i])
			}
		}
		return
	}
	t.Error("nothing is recorded")
}

// The same for the tokenizers of released models.
func TestWriteGGUFShared(t *testing.T) {
	for _, name := range []string{"gpt-2", "llama-bpe", "llama-spm", "mistral-v1", "qwen2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tok := loadShared(t, name)
			again := throughGGUF(t, tok, tok.size())
			files, _ := filepath.Glob(filepath.Join(sharedTokenizers, name, "c*.jsonl"))
			if len(files) == 0 {
				t.Fatal("no cases")
			}
			for _, file := range files {
				for _, v := range readVectors(t, file) {
					if got, want := again.Encode(v.Text), tok.Encode(v.Text); !slices.Equal(got, want) {
						t.Errorf("Encode(%q):\n got %v\nwant %v", v.Text, got, want)
					}
				}
			}
		})
	}
}

// value finds a value by its key.
func valueOf(t *testing.T, values []gguf.Value, key string) any {
	t.Helper()
	at := slices.IndexFunc(values, func(v gguf.Value) bool { return v.Key == "tokenizer."+key })
	if at < 0 {
		return nil
	}
	return values[at].Value
}

// Kinds, scores and roles, worked out by hand.
func TestGGUFValues(t *testing.T) {
	added := []any{
		object{"id": 0, "content": "<unk>", "special": true},
		object{"id": 6, "content": "<|im_end|>", "special": false},
		object{"id": 7, "content": "▁▁x", "special": false},
		object{"id": 8, "content": "</s>", "special": true},
	}
	model, err := json.Marshal(object{
		"added_tokens": added,
		"normalizer": object{"type": "Sequence", "normalizers": []any{
			object{"type": "Prepend", "prepend": "▁"}, object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"},
		}},
		"post_processor": object{
			"type": "TemplateProcessing", "single": []any{object{"Sequence": object{"id": "A"}}, object{"SpecialToken": object{"id": "</s>"}}},
			"special_tokens": object{"</s>": object{"ids": []int{8}}},
		},
		"model": object{
			"type": "BPE", "unk_token": "<unk>", "byte_fallback": true,
			"vocab":  object{"<unk>": 0, "<0x0A>": 1, "ab": 2, "a": 3, "b": 4, "abb": 5},
			"merges": []string{"a b", "ab b"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := files{model: model, config: []byte(`{"eos_token": "</s>", "chat_template": "{{ x }}"}`)}.parse()
	if err != nil {
		t.Fatal(err)
	}
	values, err := tok.GGUF(11)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"ggml.model": "llama", "ggml.pre": "default", "ggml.add_space_prefix": true,
		"ggml.tokens":       []string{"<unk>", "<0x0A>", "ab", "a", "b", "abb", "<|im_end|>", "  x", "</s>", "[PAD9]", "[PAD10]"},
		"ggml.token_type":   []int32{2, 6, 1, 1, 1, 1, 3, 4, 3, 5, 5},
		"ggml.scores":       []float32{0, 0, 0, -2, -3, -1, 0, 0, 0, 0, 0},
		"ggml.eos_token_id": uint32(8), "ggml.add_eos_token": true, "ggml.add_bos_token": false, "ggml.bos_token_id": nil,
		"chat_template": "{{ x }}",
	} {
		got := valueOf(t, values, key)
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if !bytes.Equal(a, b) {
			t.Errorf("%s is %s, want %s", key, a, b)
		}
	}
}

// TestGGUFChatTemplates: named chat templates have the keys that llama.cpp's converter gives
// them (gguf-py/gguf/gguf_writer.py, add_chat_template).
func TestGGUFChatTemplates(t *testing.T) {
	model, err := json.Marshal(object{"model": object{"type": "BPE", "vocab": object{"a": 0, "b": 1}, "merges": []string{}, "byte_fallback": true}, "normalizer": object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}})
	if err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]map[string]any{
		`{"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}, {"name": "rag-2", "template": "r"}]}`: {
			"chat_template": "d", "chat_template.tool_use": "t", "chat_template.rag_2": "r", "chat_templates": []string{"rag_2", "tool_use"}, "chat_template.default": nil,
		},
		`{"chat_template": [{"name": "rag", "template": "r"}]}`:     {"chat_template": nil, "chat_template.rag": "r", "chat_templates": []string{"rag"}},
		`{"chat_template": [{"name": "default", "template": "d"}]}`: {"chat_template": "d", "chat_templates": nil},
		`{"chat_template": "d"}`:                                    {"chat_template": "d", "chat_templates": nil},
		`{}`:                                                        {"chat_template": nil, "chat_templates": nil},
	} {
		tok, err := files{model: model, config: []byte(config)}.parse()
		if err != nil {
			t.Fatal(err)
		}
		values, err := tok.GGUF(2)
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range want {
			got, _ := json.Marshal(valueOf(t, values, key))
			if b, _ := json.Marshal(want); !bytes.Equal(got, b) {
				t.Errorf("%s: %s is %s, want %s", config, key, got, b)
			}
		}
	}
	tok, err := files{model: model, config: []byte(`{"chat_template": [{"name": "a-b", "template": "x"}, {"name": "a.b", "template": "y"}]}`)}.parse()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tok.GGUF(2); err == nil || !strings.Contains(err.Error(), `two of the chat templates are named a_b in a GGUF file: rename "a.b"`) {
		t.Error(err)
	}
}

// Tokenizers that llama.cpp would apply differently are refused.
func TestGGUFRefuses(t *testing.T) {
	bpe := object{"type": "BPE", "vocab": object{"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}, "merges": []string{"a b", "b c", "ab c"}, "byte_fallback": true}
	bytesOnly := object{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}
	mark := object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}
	for want, file := range map[string]object{
		"does not join \"a\" and \"bc\"":         {"model": bpe, "normalizer": mark},
		"(Lowercase) is not llama.cpp's":         {"model": bpe, "pre_tokenizer": bytesOnly, "normalizer": object{"type": "Lowercase"}},
		"ByteLevel with a space in front":        {"model": bpe, "pre_tokenizer": object{"type": "ByteLevel", "add_prefix_space": true}},
		"(Punctuation, ByteLevel regex) is none": {"model": bpe, "pre_tokenizer": object{"type": "Sequence", "pretokenizers": []any{object{"type": "Punctuation"}, bytesOnly}}},
		"(Lowercase, Replace \" \" ▁) is not":    {"model": bpe, "normalizer": object{"type": "Sequence", "normalizers": []any{object{"type": "Lowercase"}, mark}}},
		"neither a byte-level BPE nor a Sentenc": {"model": object{"type": "BPE", "vocab": object{"a": 0}, "merges": []string{}}},
		"it is a unigram model":                  {"model": object{"type": "Unigram", "vocab": []any{[]any{"a", -1.0}}, "unk_id": 0}},
	} {
		model, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := files{model: model}.parse()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tok.GGUF(1); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "export a Hugging Face folder") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
