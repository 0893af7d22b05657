package tokenizer

import (
	"os"
	"strings"
	"testing"
)

// Whatever a tokenizer.json says, loading it is an error or gives a tokenizer
// that works.
func FuzzLoad(f *testing.F) {
	for _, name := range families {
		data, err := os.ReadFile("testdata/" + name + "/tokenizer.json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]},"pre_tokenizer":{"type":"Digits"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := parse("fuzz", data, nil, nil, nil)
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

// Byte-level ids give the text back, and ids of the whole are the same however
// often it was seen before.
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
			return // they swallow the space beside them
		}
		ids := tok.Encode(text)
		if got, want := tok.Decode(ids, false), validUTF8(text); got != want {
			t.Fatalf("Decode(Encode(%q)) = %q", text, got)
		}
	})
}
