package tokenizer

import (
	"encoding/json"
	"os"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// TestYoungCharacters: characters newer than the tables of Hugging Face's normalizers are left
// unchanged (tools/golden/normal_forms.py).
func TestYoungCharacters(t *testing.T) {
	raw, err := os.ReadFile("testdata/normal_forms.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []map[string]string
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		for name, f := range map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD} {
			if got := form(f)(c["text"]); got != c[name] {
				t.Errorf("%s of %+q is %+q, want %+q", name, c["text"], got, c[name])
			}
		}
	}
}
