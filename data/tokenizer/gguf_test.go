package tokenizer

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ggufText is a value of a GGUF file as its bytes: kind and content.
func ggufText(s string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(s))), s...)
}

func ggufList[T any](kind uint32, list []T, one func(T) []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{9, 0, 0, 0}, kind)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(list)))
	for _, v := range list {
		b = append(b, one(v)...)
	}
	return b
}

func ggufNumber(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

// asGGUF writes the vocabulary of testdata/NAME as a GGUF file with the values given.
func asGGUF(t *testing.T, name string, values map[string][]byte) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name, tokenizerFile))
	if err != nil {
		t.Fatal(err)
	}
	var from struct {
		Added []addedFile `json:"added_tokens"`
		Model struct {
			Vocab  map[string]int
			Merges []json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &from); err != nil {
		t.Fatal(err)
	}
	tokens, kinds := make([]string, 600), make([]uint32, 600)
	for i := range tokens {
		tokens[i], kinds[i] = "[PAD"+string(rune('A'+i))+"]", pieceUnused // embeddings have more rows than there are tokens
	}
	for text, id := range from.Model.Vocab {
		tokens[id], kinds[id] = text, pieceNormal
	}
	for _, a := range from.Added {
		kinds[*a.ID] = pieceUser
		if tokens[*a.ID] = a.Content; a.Special {
			kinds[*a.ID] = pieceControl
		}
	}
	var merges []string
	for _, raw := range from.Model.Merges {
		var pair []string
		var joined string
		if json.Unmarshal(raw, &joined) == nil {
			pair = strings.SplitN(joined, " ", 2)
		} else if err := json.Unmarshal(raw, &pair); err != nil {
			t.Fatal(err)
		}
		merges = append(merges, pair[0]+" "+pair[1])
	}
	return writeGGUF(t, name, values, map[string][]byte{
		"tokenizer.ggml.tokens": ggufList(8, tokens, ggufText), "tokenizer.ggml.token_type": ggufList(5, kinds, ggufNumber),
		"tokenizer.ggml.merges": ggufList(8, merges, ggufText),
	})
}

// writeGGUF writes values, and those of defaults that are not among them.
func writeGGUF(t *testing.T, name string, values, defaults map[string][]byte) string {
	t.Helper()
	all := map[string][]byte{"general.architecture": append(ggufNumber(8), ggufText("llama")...)}
	maps.Copy(all, defaults)
	maps.Copy(all, values)
	b := binary.LittleEndian.AppendUint64([]byte("GGUF\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), uint64(len(all)))
	for key, v := range all {
		b = append(append(b, ggufText(key)...), v...)
	}
	path := filepath.Join(t.TempDir(), name+".gguf")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func ggufModel(kind, pre string) map[string][]byte {
	return map[string][]byte{"tokenizer.ggml.model": append(ggufNumber(8), ggufText(kind)...), "tokenizer.ggml.pre": append(ggufNumber(8), ggufText(pre)...)}
}

// The vocabulary in a GGUF file gives the ids that the Hugging Face library gives for its
// tokenizer.json, except for tokens with flags that GGUF cannot store.
func TestGGUF(t *testing.T) {
	for name, pre := range map[string]string{"llama3": "llama-bpe", "qwen2": "qwen2", "digits": "smollm"} {
		tok, err := Load(asGGUF(t, name, ggufModel("gpt2", pre)))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, v := range readVectors(t, filepath.Join("testdata", name, "vectors.jsonl")) {
			if slices.ContainsFunc([]string{"<left>", "<right>", "word", "<n>"}, func(s string) bool { return strings.Contains(v.Text, s) }) {
				continue
			}
			n++
			if got := tok.Encode(v.Text); !slices.Equal(got, v.IDs) {
				t.Errorf("%s: Encode(%q):\n got %v\nwant %v", name, v.Text, got, v.IDs)
			}
			if got := tok.Decode(v.IDs, false); v.DecodedWithSpecial != nil && got != *v.DecodedWithSpecial {
				t.Errorf("%s: Decode(%v):\n got %q\nwant %q", name, v.IDs, got, *v.DecodedWithSpecial)
			}
		}
		if n < 50 {
			t.Errorf("%s: only %d texts", name, n)
		}
		if same := load(t, name); tok.Len() != same.Len() {
			t.Errorf("%s has %d tokens, want %d", name, tok.Len(), same.Len())
		}
	}
}

// A newline is a piece of its own for deepseek-coder: ids by tokenizers 0.22 with its pre-tokenizer
// on the same vocabulary, where those of smollm are others.
func TestGGUFCoder(t *testing.T) {
	tok, err := Load(asGGUF(t, "digits", ggufModel("gpt2", "deepseek-coder")))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{
		"ñ\n\n365-away<s> мирกำ-":                  {195, 177, 10, 10, 51, 54, 53, 45, 97, 119, 295, 60, 115, 62, 332, 224, 184, 129, 224, 184, 179, 45},
		"-\u00a0the \n\u212bCaf\u00e9<tool>\n\n  ": {45, 194, 160, 116, 256, 32, 10, 226, 132, 171, 67, 97, 102, 195, 169, 443, 10, 10, 268},
	} {
		if got := tok.Encode(text); !slices.Equal(got, want) {
			t.Errorf("%q:\n got %v\nwant %v", text, got, want)
		}
	}
}

// The pieces of a SentencePiece model in a GGUF file give the ids that transformers 4.52.4
// gives for its tokenizer.model.
func TestGGUFPieces(t *testing.T) {
	text, err := os.ReadFile("testdata/kinds.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Texts  []string
		Models map[string][]byte
		Kinds  []struct {
			Name    string
			IDs     [][]int32
			Special []int32
			Decoded []string
		}
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	m, err := readPieces(recorded.Models["llama"])
	if err != nil {
		t.Fatal(err)
	}
	var tokens []string
	var kinds, scores []uint32
	for _, p := range m.pieces {
		tokens, kinds, scores = append(tokens, p.text), append(kinds, uint32(p.kind)), append(scores, math.Float32bits(p.score))
	}
	values := ggufModel("llama", "default")
	for part, id := range map[string]uint32{"bos": 1, "eos": 2, "unknown": 0} {
		values["tokenizer.ggml."+part+"_token_id"] = append(ggufNumber(4), ggufNumber(id)...)
	}
	tok, err := Load(writeGGUF(t, "llama", values, map[string][]byte{
		"tokenizer.ggml.tokens": ggufList(8, tokens, ggufText), "tokenizer.ggml.token_type": ggufList(5, kinds, ggufNumber),
		"tokenizer.ggml.scores": ggufList(6, scores, ggufNumber),
	}))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, k := range recorded.Kinds {
		if k.Name != "llama's tokenizer.model" {
			continue
		}
		found = true
		for i, text := range recorded.Texts {
			if got := tok.Encode(text); !slices.Equal(got, k.IDs[i]) {
				t.Errorf("%q: %v, want %v", text, got, k.IDs[i])
			}
			if got := tok.Decode(k.IDs[i], false); got != k.Decoded[i] {
				t.Errorf("decoded %v: %q, want %q", k.IDs[i], got, k.Decoded[i])
			}
		}
		if got := tok.EncodeSpecial(recorded.Texts[0]); !slices.Equal(got, k.Special) {
			t.Errorf("with special tokens: %v, want %v", got, k.Special)
		}
	}
	if !found {
		t.Error("nothing is recorded")
	}
}

// The special tokens, the chat template and the BOS are the file's.
func TestGGUFSpecial(t *testing.T) {
	values := ggufModel("gpt2", "smollm")
	for part, id := range map[string]uint32{"bos": 436, "eos": 437, "padding": 438} {
		values["tokenizer.ggml."+part+"_token_id"] = append(ggufNumber(4), ggufNumber(id)...)
	}
	values["tokenizer.ggml.add_bos_token"] = append(ggufNumber(7), 1)
	values["tokenizer.chat_template"] = append(ggufNumber(8), ggufText("{{ messages }}")...)
	values["llama.context_length"] = append(ggufNumber(4), ggufNumber(77)...)
	tok, err := Load(asGGUF(t, "digits", values))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"bos_token": "<|begin|>", "eos_token": "<|end|>", "pad_token": "<|end|>x"} {
		if got, _, _ := tok.special(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, _, ok := tok.Unknown(); ok || !tok.AddBOS() || tok.ModelMaxLength() != 77 || tok.ChatTemplate() != "{{ messages }}" {
		t.Error(ok, tok.AddBOS(), tok.ModelMaxLength(), tok.config.chat)
	}
	if got := tok.EncodeSpecial("<|end|>"); !slices.Equal(got, []int32{436, 437}) {
		t.Error(got)
	}
}

func TestGGUFErrors(t *testing.T) {
	for want, values := range map[string]map[string][]byte{
		`tokenizer.ggml.pre is "viking"`:                     ggufModel("gpt2", "viking"),
		`tokenizer.ggml.model is "t5"`:                       ggufModel("t5", ""),
		"tokenizer.ggml.bos_token_id is 999":                 {"tokenizer.ggml.bos_token_id": append(ggufNumber(4), ggufNumber(999)...)},
		"has 1 entries for 600 tokens":                       {"tokenizer.ggml.token_type": ggufList(5, []uint32{1}, ggufNumber)},
		`"a") is empty or a duplicate`:                       {"tokenizer.ggml.tokens": ggufList(8, []string{"a", "a"}, ggufText), "tokenizer.ggml.token_type": ggufList(5, []uint32{1, 1}, ggufNumber)},
		"entry 0 (\"ab\") is not a pair":                     {"tokenizer.ggml.merges": ggufList(8, []string{"ab"}, ggufText)},
		"no tokenizer (no tokenizer.ggml.tokens)":            {"tokenizer.ggml.tokens": ggufList(8, []string{}, ggufText)},
		"tokenizer.ggml.tokens is a []int, want a []string":  {"tokenizer.ggml.tokens": ggufList(5, []uint32{1}, ggufNumber)},
		"tokenizer.chat_template is a int, want a string":    {"tokenizer.chat_template": append(ggufNumber(4), ggufNumber(1)...)},
		"tokenizer.ggml.add_bos_token is a int, want a bool": {"tokenizer.ggml.add_bos_token": append(ggufNumber(4), ggufNumber(1)...)},
		"general.architecture is a int, want a string":       {"general.architecture": append(ggufNumber(4), ggufNumber(1)...)},
	} {
		all := ggufModel("gpt2", "smollm")
		for k, v := range values {
			all[k] = v
		}
		if _, err := Load(asGGUF(t, "digits", all)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "digits.gguf") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
