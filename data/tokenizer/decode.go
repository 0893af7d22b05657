package tokenizer

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// A decodeStep transforms the texts of the tokens; the results are concatenated.
type decodeStep func(tokens []string) []string

// decodeByteLevel maps GPT-2's alphabet back to bytes; a token with any other character in it
// (an added one) is unchanged.
func decodeByteLevel(tokens []string) []string {
	var b []byte
	for _, token := range tokens {
		start := len(b)
		for _, r := range token {
			v, ok := alphabetByte[r]
			if !ok {
				b = append(b[:start], token...)
				break
			}
			b = append(b, v)
		}
	}
	return []string{validUTF8(string(b))}
}

// decodeByteFallback joins runs of <0xNN>: their text where it is valid UTF-8,
// else one U+FFFD a byte.
func decodeByteFallback(tokens []string) []string {
	out := make([]string, 0, len(tokens))
	var run []byte
	flush := func() {
		switch {
		case len(run) == 0:
			return
		case utf8.Valid(run):
			out = append(out, string(run))
		default:
			out = append(out, strings.Repeat("\ufffd", len(run)))
		}
		run = run[:0]
	}
	for _, token := range tokens {
		if b, ok := fallbackByte(token); ok {
			run = append(run, b)
			continue
		}
		flush()
		out = append(out, token)
	}
	flush()
	return out
}

// fallbackByte reads a token of the form <0xNN>.
func fallbackByte(token string) (byte, bool) {
	if len(token) != 6 || token[:3] != "<0x" || token[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(token[3:5], 16, 8)
	return byte(b), err == nil
}

func decodeFuse(tokens []string) []string { return []string{strings.Join(tokens, "")} }

func decodeReplace(from, to string) decodeStep {
	return func(tokens []string) []string {
		for i, token := range tokens {
			tokens[i] = strings.ReplaceAll(token, from, to)
		}
		return tokens
	}
}

// decodeStrip removes up to start and stop copies of cut at each token's ends.
func decodeStrip(cut string, start, stop int) decodeStep {
	return func(tokens []string) []string {
		for i, token := range tokens {
			for n := 0; n < start && strings.HasPrefix(token, cut); n++ {
				token = token[len(cut):]
			}
			for n := 0; n < stop && strings.HasSuffix(token, cut); n++ {
				token = token[:len(token)-len(cut)]
			}
			tokens[i] = token
		}
		return tokens
	}
}

// decodeMetaspace turns marks into spaces, and drops the first token's where Encode may have
// inserted one.
func decodeMetaspace(mark string, prepended bool) decodeStep {
	return func(tokens []string) []string {
		for i, token := range tokens {
			if i == 0 && prepended {
				token = strings.ReplaceAll(token, mark, "")
			}
			tokens[i] = strings.ReplaceAll(token, mark, " ")
		}
		return tokens
	}
}

// cleanUp removes spaces that English does not have, as transformers does where
// clean_up_tokenization_spaces is set.
var cleanUp = func() func(string) string {
	steps := [][2]string{
		{" .", "."},
		{" ?", "?"},
		{" !", "!"},
		{" ,", ","},
		{" ' ", "'"},
		{" n't", "n't"},
		{" 'm", "'m"},
		{" 's", "'s"},
		{" 've", "'ve"},
		{" 're", "'re"},
	}
	return func(s string) string {
		for _, step := range steps { // one after the other: the order matters
			s = strings.ReplaceAll(s, step[0], step[1])
		}
		return s
	}
}()

// Decode returns the text of ids; skipSpecial skips special tokens. An id without a token is
// skipped, as in the library.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		token, ok := t.Token(id)
		if !ok || skipSpecial && t.IsSpecial(id) {
			continue
		}
		tokens = append(tokens, token)
	}
	if len(t.decoders) == 0 {
		return t.cleaned(strings.Join(tokens, " "))
	}
	for _, step := range t.decoders {
		tokens = step(tokens)
	}
	return t.cleaned(strings.Join(tokens, ""))
}

func (t *Tokenizer) cleaned(s string) string {
	if t.config.cleanUpSpaces() {
		return cleanUp(s)
	}
	return s
}
