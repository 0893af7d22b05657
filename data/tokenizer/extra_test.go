package tokenizer

import (
	"fmt"
	"slices"
	"testing"
)

// TestExtraSpecialTokens: ids, and the text without special tokens, as transformers 5.0.0 gives
// them for such folders. The tokens of an object have names; a list is the former
// additional_special_tokens, and takes precedence over it.
func TestExtraSpecialTokens(t *testing.T) {
	const model = `{"version":"1.0","truncation":null,"padding":null,"added_tokens":[
		{"id":3,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
		{"id":4,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
		{"id":5,"content":"<|im_start|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
		{"id":6,"content":"<|im_end|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
		"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,
		"model":{"type":"BPE","vocab":{"h":0,"e":1,"o":2},"merges":[]}}`
	const added = `{"__type":"AddedToken","content":"<n1>","lstrip":true,"normalized":false,"rstrip":false,"single_word":false,"special":true}`
	for fields, want := range map[string]struct {
		ids   []int32
		named string
	}{
		`"extra_special_tokens":{"b_token":"<n2>","a_token":"<n1>"}`:                     {[]int32{8, 0, 1, 2, 7, 6}, "<n1>"},
		`"extra_special_tokens":{"a_token":` + added + `}`:                               {[]int32{7, 0, 1, 2, 6}, "<n1>"},
		`"extra_special_tokens":[` + added + `,"<n2>"]`:                                  {[]int32{7, 0, 1, 2, 8, 6}, "<nil>"},
		`"extra_special_tokens":["<n1>","<n2>"],"additional_special_tokens":["<n2>"]`:    {[]int32{7, 0, 1, 2, 8, 6}, "<nil>"},
		`"extra_special_tokens":{"a_token":"<n1>"},"additional_special_tokens":["<n2>"]`: {[]int32{8, 0, 1, 2, 7, 6}, "<n1>"}, // of 4.52.4
		`"extra_special_tokens":[ ],"additional_special_tokens":["<n2>","<n1>"]`:         {[]int32{8, 0, 1, 2, 7, 6}, "<nil>"},
		`"extra_special_tokens":{},"additional_special_tokens":["<n2>","<n1>"]`:          {[]int32{8, 0, 1, 2, 7, 6}, "<nil>"},
		`"extra_special_tokens":{"a_token":null},"additional_special_tokens":["<n1>"]`:   {[]int32{7, 0, 1, 2, 6}, "<nil>"},
	} {
		config := `{"bos_token":"<s>","eos_token":"</s>","tokenizer_class":"TokenizersBackend",` + fields + `}`
		tok, err := files{dir: "x", model: []byte(model), config: []byte(config)}.parse()
		if err != nil {
			t.Errorf("%s: %v", fields, err)
			continue
		}
		text := "<n1>heo<n2><|im_end|>"
		if len(want.ids) == 5 {
			text = "<n1>heo<|im_end|>"
		}
		check := func(tok *Tokenizer, what string) {
			if got := tok.Encode(text); !slices.Equal(got, want.ids) {
				t.Errorf("%s%s: ids %v, want %v", what, fields, got, want.ids)
			}
			if got := fmt.Sprint(tok.SpecialTokens()["a_token"]); got != want.named {
				t.Errorf("%s%s: a_token %s, want %s", what, fields, got, want.named)
			}
			if !tok.IsSpecial(want.ids[0]) {
				t.Errorf("%s%s: <n1> is no special token", what, fields)
			}
		}
		check(tok, "")
		saved := save(t, tok)
		again, err := files{dir: "x", model: []byte(saved[tokenizerFile]), config: []byte(saved[configFile])}.parse()
		if err != nil {
			t.Fatal(err)
		}
		check(again, "saved ")
	}
}
