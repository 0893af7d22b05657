package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// families are the tokenizers of testdata: tiny, of our own making
// (testdata/make.py), one of each shape. Their vectors.jsonl holds what the
// Hugging Face library gives (npm tokenizers 0.23.2, testdata/oracle.js).
var families = []string{"gpt2", "llama3", "qwen2", "digits", "llama2", "mistral", "gemma", "unknown", "unfused"}

func load(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := Load(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestVectors(t *testing.T) {
	root := "testdata"
	if dir := os.Getenv("TOKENIZER_VECTORS"); dir != "" {
		root = dir // a longer run of testdata/oracle.js
	}
	for _, name := range families {
		t.Run(name, func(t *testing.T) {
			tok := load(t, name)
			all := readVectors(t, filepath.Join(root, name, "vectors.jsonl"))
			for _, v := range all {
				if got := tok.Encode(v.Text); !slices.Equal(got, v.IDs) {
					t.Errorf("Encode(%q):\n got %v\nwant %v", v.Text, got, v.IDs)
				}
				if got := tok.EncodeSpecial(v.Text); !slices.Equal(got, v.IDsWithSpecial) {
					t.Errorf("EncodeSpecial(%q):\n got %v\nwant %v", v.Text, got, v.IDsWithSpecial)
				}
				if v.DecodedWithSpecial == nil {
					continue
				}
				if got := tok.Decode(v.IDs, false); got != *v.DecodedWithSpecial {
					t.Errorf("Decode(%v):\n got %q\nwant %q", v.IDs, got, *v.DecodedWithSpecial)
				}
				if got := tok.Decode(v.IDsWithSpecial, true); got != *v.DecodedWithoutSpecial {
					t.Errorf("Decode(%v) without special tokens:\n got %q\nwant %q", v.IDs, got, *v.DecodedWithoutSpecial)
				}
			}
			if len(all) < 100 {
				t.Errorf("only %d vectors", len(all))
			}
		})
	}
}

func TestEncodeInvalidUTF8(t *testing.T) {
	tok := load(t, "qwen2")
	// Python's bytes.decode(errors="replace") of the same bytes.
	for in, want := range map[string]string{
		"a\xffb":         "a\ufffdb",
		"\xe4\xbd":       "\ufffd",
		"\xe4\xbdx\xa0":  "\ufffdx\ufffd",
		"\xf0\x9f\x98é":  "\ufffdé",
		"\xed\xa0\x80":   "\ufffd\ufffd\ufffd",
		"\xc0\x80":       "\ufffd\ufffd",
		"\xf5\x80\x80ok": "\ufffd\ufffd\ufffdok",
	} {
		if got := validUTF8(in); got != want {
			t.Errorf("validUTF8(%q) = %q, want %q", in, got, want)
		}
		if got := tok.Encode(in); !slices.Equal(got, tok.Encode(want)) {
			t.Errorf("Encode(%q) differs from that of %q", in, want)
		}
	}
}

func TestEncodeConcurrently(t *testing.T) {
	tok := load(t, "llama2")
	vectors := readVectors(t, filepath.Join("testdata", "llama2", "vectors.jsonl"))
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for _, v := range vectors {
				if got := tok.Encode(v.Text); !slices.Equal(got, v.IDs) {
					t.Errorf("Encode(%q) = %v, want %v", v.Text, got, v.IDs)
				}
			}
		})
	}
	wait.Wait()
}

// The queue gives the same result as the scan for words of any length.
func TestQueueEqualsScan(t *testing.T) {
	tok := load(t, "gpt2")
	text := strings.Repeat("thecatsatonthematadogran", 9) // one word of 216 letters
	scanned, queued := new(scratch), new(scratch)
	for n := 1; n < linearLimit; n++ {
		symbols := tok.model.byteSymbols(nil, text[n:2*n+1])
		want := slices.Clone(tok.model.merges.apply(slices.Clone(symbols), scanned))
		if got := tok.model.merges.applyQueue(symbols, queued); !slices.Equal(got, want) {
			t.Errorf("%q: queue gives %v, scan %v", text[n:2*n+1], got, want)
		}
	}
}
