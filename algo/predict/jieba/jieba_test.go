package jieba

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestCut holds texts against jieba 0.42.1 (tools/golden/chinese_words.py).
func TestCut(t *testing.T) {
	f, err := os.Open("testdata/cut.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, n := bufio.NewScanner(f), 0
	for ; lines.Scan(); n++ {
		var want []string
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		if got := Cut(strings.Join(want, "")); !slices.Equal(got, want) {
			t.Errorf("%q\nwant %q", got, want)
		}
	}
	if lines.Err() != nil || n != 300 {
		t.Errorf("%d texts, %v", n, lines.Err())
	}
}

// TestCutBytes: bytes that are no UTF-8 are kept.
func TestCutBytes(t *testing.T) {
	for _, s := range []string{"", "\xff", "好\xff好", "\xe5\xa5"} {
		if got := strings.Join(Cut(s), ""); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}
