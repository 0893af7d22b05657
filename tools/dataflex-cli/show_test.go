package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/tokenizer"
)

// TestShowJSONLines: whatever a row holds, its object is one line, for readers too that
// end lines at more characters than LF, as Python's splitlines does.
func TestShowJSONLines(t *testing.T) {
	tok, err := tokenizer.Load("../dataflex-demo/model")
	if err != nil {
		t.Fatal(err)
	}
	const text = "a\u0085b\u2028c\u2029d\x0be\x1cf\rg\nh <tag>"
	ids := tok.Encode(text)
	var out bytes.Buffer
	if err := showJSON(&out, tok, data.Example{InputIDs: ids, Labels: ids}); err != nil {
		t.Fatal(err)
	}
	line, rest, _ := bytes.Cut(out.Bytes(), []byte("\n"))
	if len(rest) != 0 || bytes.ContainsAny(line, "\u0085\u2028\u2029\x0b\x1c\r") {
		t.Errorf("%q", out.String())
	}
	var row shownRow
	if err := json.Unmarshal(line, &row); err != nil || row.Text != text {
		t.Errorf("%q, %v", row.Text, err)
	}
}
