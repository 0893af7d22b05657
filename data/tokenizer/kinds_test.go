package tokenizer

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Small tokenizers of every kind, against transformers 4.52.4 (tools/golden/tokenizer_kinds.py).
func TestKinds(t *testing.T) {
	text, err := os.ReadFile("testdata/kinds.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Texts  []string
		Vocab  json.RawMessage
		Merges json.RawMessage
		Models map[string]string
		Kinds  []struct {
			Name   string
			Files  map[string]string
			Pieces string
			Packed []byte // a tokenizer.json, deflated
			Extra  struct {
				Text    string
				IDs     []int32
				Decoded string
			}
			IDs     [][]int32
			Special []int32
			Decoded []string
		}
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	for _, k := range recorded.Kinds {
		t.Run(k.Name, func(t *testing.T) {
			dir := t.TempDir()
			if f, ok := k.Files[tokenizerFile]; ok {
				model := `"model": {"type":"BPE","vocab":` + string(recorded.Vocab) + `,"merges":` + string(recorded.Merges) + `}`
				k.Files[tokenizerFile] = strings.Replace(f, `"model": null`, model, 1)
			} else if k.Packed != nil {
				z, err := zlib.NewReader(bytes.NewReader(k.Packed))
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(z)
				if err != nil {
					t.Fatal(err)
				}
				k.Files[tokenizerFile] = string(text)
			} else if k.Pieces == "" {
				k.Files["vocab.json"] = string(recorded.Vocab)
			} else {
				pieces, err := base64.StdEncoding.DecodeString(recorded.Models[k.Pieces])
				if err != nil {
					t.Fatal(err)
				}
				k.Files["tokenizer.model"] = string(pieces)
			}
			for name, text := range k.Files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			tok, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			for i, text := range recorded.Texts {
				if got := tok.Encode(text); !slices.Equal(got, k.IDs[i]) {
					t.Errorf("%q: %v, want %v", text, got, k.IDs[i])
				}
				if got := tok.Decode(k.IDs[i], false); got != k.Decoded[i] {
					t.Errorf("decoded %v: %q, want %q", k.IDs[i], got, k.Decoded[i])
				}
			}
			if got := tok.Encode(k.Extra.Text); !slices.Equal(got, k.Extra.IDs) {
				t.Errorf("%q: %v, want %v", k.Extra.Text, got, k.Extra.IDs)
			}
			if got := tok.EncodeSpecial(recorded.Texts[0]); !slices.Equal(got, k.Special) {
				t.Errorf("with special tokens: %v, want %v", got, k.Special)
			}
		})
	}
}
