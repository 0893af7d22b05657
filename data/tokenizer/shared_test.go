package tokenizer

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The published encodings of real tokenizers are in a folder beside the checkout; without it
// only testdata is used.
const sharedTokenizers = "../../../shared/data/tokenizers"

// loadShared loads a tokenizer of the shared data, whose tokenizer.json is compressed.
func loadShared(t testing.TB, name string) *Tokenizer {
	t.Helper()
	dir := filepath.Join(sharedTokenizers, name)
	f, err := os.Open(filepath.Join(dir, "tokenizer.json.gz"))
	if err != nil {
		t.Skip("no shared data: ", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	model, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(dir, configFile))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	tok, err := files{dir: dir, model: model, config: config}.parse()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// vector is a line of a cases file.
type vector struct {
	Text                  string  `json:"text"`
	IDs                   []int32 `json:"ids"`
	IDsWithSpecial        []int32 `json:"ids_with_special"`
	Decoded               *string `json:"decoded"`
	DecodedWithSpecial    *string `json:"decoded_with_special"`
	DecodedWithoutSpecial *string `json:"decoded_without_special"`
}

func readVectors(t testing.TB, path string) []vector {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []vector
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func TestSharedVectors(t *testing.T) {
	for _, name := range []string{"gpt-2", "llama-bpe", "llama-spm", "minimind", "mistral-v1", "qwen2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tok := loadShared(t, name)
			files, _ := filepath.Glob(filepath.Join(sharedTokenizers, name, "c*s*.jsonl"))
			for _, file := range files {
				if filepath.Base(file) == "chat_samples.jsonl" {
					continue
				}
				equal, all := 0, readVectors(t, file)
				if filepath.Base(file) == "cases_transformers.jsonl" && name != "llama-spm" {
					// The program that recorded these cleaned up, except for Llama 2, whose
					// files turn that off.
					tok.config.fields["clean_up_tokenization_spaces"] = json.RawMessage("true")
				}
				for _, v := range all {
					if checkVector(t, tok, v) {
						equal++
					}
				}
				t.Logf("%s/%s: %d of %d", name, filepath.Base(file), equal, len(all))
			}
		})
	}
}

func checkVector(t *testing.T, tok *Tokenizer, v vector) bool {
	t.Helper()
	ok := true
	fail := func(what string, got, want any) {
		ok = false
		t.Errorf("%s of %q:\n got %q\nwant %q", what, v.Text, got, want)
	}
	ids := tok.Encode(v.Text)
	if v.IDsWithSpecial != nil {
		if got := tok.EncodeSpecial(v.Text); !slices.Equal(got, v.IDsWithSpecial) {
			fail("ids with special tokens", got, v.IDsWithSpecial)
		}
		if got := tok.Decode(v.IDsWithSpecial, false); got != *v.DecodedWithSpecial {
			fail("decoded with special tokens", got, *v.DecodedWithSpecial)
		}
		if got := tok.Decode(v.IDsWithSpecial, true); got != *v.DecodedWithoutSpecial {
			fail("decoded without special tokens", got, *v.DecodedWithoutSpecial)
		}
		return ok
	}
	if !slices.Equal(ids, v.IDs) {
		fail("ids", ids, v.IDs)
	}
	if v.Decoded != nil {
		if got := tok.Decode(v.IDs, false); got != *v.Decoded {
			fail("decoded", got, *v.Decoded)
		}
	}
	return ok
}
