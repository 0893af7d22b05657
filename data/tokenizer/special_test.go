package tokenizer

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const testConfig = `{
  "add_bos_token": true,
  "tokenizer_class": "LlamaTokenizerFast",
  "chat_template": "{{ messages }}",
  "bos_token": "<|begin|>",
  "eos_token": {"__type": "AddedToken", "content": "<|end|>", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false},
  "pad_token": null,
  "unk_token": "unheard",
  "additional_special_tokens": ["<left>"],
  "model_max_length": 1000000000000000019884624838656,
  "added_tokens_decoder": {"444": {"content": "<tool>", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": false}},
  "tokenizer_file": "/somewhere/else.json"
}`

// loadWith loads a tokenizer of testdata with the given files in place of its own.
func loadWith(t *testing.T, name, config, special string) *Tokenizer {
	t.Helper()
	model, err := os.ReadFile(filepath.Join("testdata", name, tokenizerFile))
	if err != nil {
		t.Fatal(err)
	}
	bytes := func(s string) []byte {
		if s == "" {
			return nil
		}
		return []byte(s)
	}
	tok, err := files{dir: name, model: model, config: bytes(config), special: bytes(special)}.parse()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// save returns what Save writes, by file name.
func save(t *testing.T, tok *Tokenizer) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := tok.Save("out", func(path string, data []byte) error {
		if filepath.Dir(path) != "out" {
			t.Errorf("wrote %s", path)
		}
		files[filepath.Base(path)] = string(data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSpecialTokens(t *testing.T) {
	// A config older than added_tokens_decoder: the map takes precedence.
	legacy := strings.Replace(testConfig, "added_tokens_decoder", "ignored", 1)
	tok := loadWith(t, "llama3", legacy, `{"pad_token": {"content": "<tool>", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false}, "eos_token": "<|end|>x"}`)
	if token, _, ok := tok.Pad(); !ok || token != "<tool>" {
		t.Errorf("pad is %q, %v", token, ok)
	}
	if token, _, _ := tok.EOS(); token != "<|end|>x" {
		t.Errorf("eos is %q", token)
	}
	size := load(t, "llama3").Len()
	if tok.Len() != size+1 { // the token "unheard" is new
		t.Errorf("%d tokens, want %d", tok.Len(), size+1)
	}
	_, id, ok := tok.Unknown()
	if got := tok.Encode("an unheard one"); !ok || int(id) != size || !slices.Contains(got, id) {
		t.Errorf("unheard has the id %d (%v) and is not in %v", id, ok, got)
	}
	if !tok.AddBOS() || tok.ChatTemplate() != "{{ messages }}" {
		t.Errorf("add_bos_token %v, chat_template %q", tok.AddBOS(), tok.ChatTemplate())
	}
}

func TestSetSpecialTokens(t *testing.T) {
	tok := load(t, "llama3")
	size := tok.Len()
	if n := tok.SetEOS("<|end|>"); n != 0 {
		t.Errorf("an added token added %d", n)
	}
	if n := tok.AddSpecial("<new>", "<|end|>x", "<newer>", "<new>"); n != 2 || tok.Len() != size+2 {
		t.Errorf("added %d, have %d of %d", n, tok.Len(), size+2)
	}
	if got := tok.Encode("a<newer>b"); !slices.Equal(got, []int32{97, int32(size + 1), 98}) {
		t.Errorf("Encode = %v", got)
	}
	if got := tok.Decode([]int32{97, int32(size), 98}, true); got != "ab" {
		t.Errorf("a new special token is not left out: %q", got)
	}
	if n := tok.SetPad("<|end|>"); n != 0 {
		t.Errorf("pad added %d", n)
	}
	if n := tok.AddTokens("<plain>"); n != 1 || tok.IsSpecial(int32(size+2)) {
		t.Errorf("AddTokens gave %d", n)
	}
	if token, _, ok := tok.BOS(); ok {
		t.Errorf("there is a bos: %q", token)
	}
}

func TestSave(t *testing.T) {
	tok := loadWith(t, "llama3", testConfig, "")
	tok.SetPad("<|end|>")
	tok.AddSpecial("<new>")
	tok.SetPaddingSide("right")
	files := save(t, tok)
	// As transformers writes it: a token that was set by name only is a string.
	want := `{
  "additional_special_tokens": [
    "<left>",
    {
      "content": "<new>",
      "lstrip": false,
      "normalized": false,
      "rstrip": false,
      "single_word": false
    }
  ],
  "bos_token": {
    "content": "<|begin|>",
    "lstrip": false,
    "normalized": false,
    "rstrip": false,
    "single_word": false
  },
  "eos_token": {
    "content": "<|end|>",
    "lstrip": false,
    "normalized": false,
    "rstrip": false,
    "single_word": false
  },
  "pad_token": "<|end|>",
  "unk_token": "unheard"
}
`
	if got := files[specialFile]; got != want {
		t.Errorf("%s:\n%s\nwant\n%s", specialFile, got, want)
	}
	if files[chatFile] != "{{ messages }}" {
		t.Errorf("%s: %q", chatFile, files[chatFile])
	}
	config := files[configFile]
	for _, part := range []string{
		`"eos_token": "<|end|>"`, `"pad_token": "<|end|>"`, `"tokenizer_class": "LlamaTokenizer"`, `"padding_side": "right"`,
		`"model_max_length": 1000000000000000019884624838656`, "\"additional_special_tokens\": [\n    \"<left>\",\n    \"<new>\"\n  ]",
		"\"444\": {\n      \"content\": \"<tool>\",\n      \"lstrip\": false,\n      \"normalized\": false,\n      \"rstrip\": false,\n      \"single_word\": false,\n      \"special\": false\n    }",
	} {
		if !strings.Contains(config, part) {
			t.Errorf("%s lacks %s:\n%s", configFile, part, config)
		}
	}
	for _, name := range []string{"chat_template", "tokenizer_file"} {
		if strings.Contains(config, name) {
			t.Errorf("%s has %s", configFile, name)
		}
	}
	checkReload(t, tok, files)
}

// checkReload reads the saved files and compares the tokenizer with the original.
func checkReload(t *testing.T, tok *Tokenizer, saved map[string]string) {
	t.Helper()
	again, err := files{
		dir: "out", model: []byte(saved[tokenizerFile]), config: []byte(saved[configFile]), special: []byte(saved[specialFile]), chat: []byte(saved[chatFile]),
	}.parse()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := again.Added(), tok.Added(); !slices.Equal(got, want) {
		t.Errorf("added tokens\n got %v\nwant %v", got, want)
	}
	for _, v := range readVectors(t, "testdata/llama3/vectors.jsonl") {
		if got, want := again.Encode(v.Text), tok.Encode(v.Text); !slices.Equal(got, want) {
			t.Errorf("Encode(%q) = %v after saving, %v before", v.Text, got, want)
		}
	}
	second := save(t, again)
	second[specialFile] = saved[specialFile] // strings of known tokens come back as objects
	if !maps.Equal(saved, second) {
		t.Error("saving what was saved changes it")
	}
}

// The file keeps its bytes where nothing was added, and its order where something was.
func TestSaveKeepsTokenizerJSON(t *testing.T) {
	model, err := os.ReadFile("testdata/qwen2/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	tok := load(t, "qwen2")
	if got := save(t, tok)[tokenizerFile]; got != string(model) {
		t.Error("tokenizer.json changed")
	}
	tok.AddSpecial("<new>")
	got := save(t, tok)[tokenizerFile]
	before, after, _ := strings.Cut(string(model), `"added_tokens":`)
	_, after, _ = strings.Cut(after, `"normalizer"`)
	if !strings.HasPrefix(got, before) || !strings.HasSuffix(got, after) {
		t.Error("what is not added_tokens changed")
	}
	var f struct {
		Added []addedFile `json:"added_tokens"`
	}
	if err := json.Unmarshal([]byte(got), &f); err != nil || f.Added[len(f.Added)-1].Content != "<new>" {
		t.Errorf("added_tokens: %v, %v", f.Added, err)
	}
}

// This file was written by upstream's own run with the minimind tokenizer.
func TestSharedSave(t *testing.T) {
	want, err := os.ReadFile("../../../shared/golden/runs/static_sft_lora/special_tokens_map.json")
	if err != nil {
		t.Skip("no shared data: ", err)
	}
	tok, err := Load("../../../shared/golden/models/tiny-llama")
	if err != nil {
		t.Fatal(err)
	}
	tok.SetEOS("<|im_end|>")
	if got := save(t, tok)[specialFile]; got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
