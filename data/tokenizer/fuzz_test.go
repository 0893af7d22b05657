package tokenizer

import (
	"strings"
	"testing"
)

// loadSeeds are small files with every kind of step in them.
var loadSeeds = []string{
	`{"added_tokens":[{"id":3,"content":"<s>","single_word":false,"lstrip":true,"rstrip":true,"normalized":true,"special":true}],
"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},
"model":{"type":"BPE","unk_token":"a","fuse_unk":true,"byte_fallback":true,"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`,
	`{"added_tokens":[{"id":3,"content":"cat","single_word":true,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]},
"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"cat","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"cat":{"id":"cat","ids":[3],"tokens":["cat"]}}},
"decoder":{"type":"ByteLevel"},"model":{"ignore_merges":true,"vocab":{"a":0,"t":1,"at":2},"merges":[["a","t"]]}}`,
	`{"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true},
"decoder":{"type":"Metaspace"},"model":{"type":"BPE","vocab":{"a":0,"▁":1,"▁a":2},"merges":["▁ a"]}}`,
}

// Any tokenizer.json is an error or gives a working tokenizer.
func FuzzLoad(f *testing.F) {
	for _, seed := range loadSeeds {
		if _, err := (files{dir: "fuzz", model: []byte(seed)}).parse(); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := files{dir: "fuzz", model: data}.parse()
		if err != nil {
			return
		}
		ids := tok.EncodeSpecial("The cat, 2024 <|end|> \n\n café 你好\xff")
		for _, id := range ids {
			if _, ok := tok.Token(id); !ok && id >= 0 {
				t.Fatalf("id %d has no token", id)
			}
		}
		tok.Decode(ids, true)
	})
}

// Byte-level ids decode to the text, and the ids of a text do not depend on what was encoded
// before.
func FuzzRoundTrip(f *testing.F) {
	for _, text := range []string{"The cat", "  \n\n x", "It's 12345 ſ", "你好，世界\xff\xfe", "<|end|><tool>", "a\u0301\u2028"} {
		f.Add(text)
	}
	tok, err := Load("testdata/llama3")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "<left>") || strings.Contains(text, "<right>") {
			return // they absorb the space beside them
		}
		ids := tok.Encode(text)
		if got, want := tok.Decode(ids, false), validUTF8(text); got != want {
			t.Fatalf("Decode(Encode(%q)) = %q", text, got)
		}
	})
}
