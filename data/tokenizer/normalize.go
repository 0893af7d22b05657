package tokenizer

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A normalizer rewrites a piece of text.
type normalizer func(s string) string

// form is one of Unicode's normal forms.
func form(f norm.Form) normalizer {
	return func(s string) string {
		if isASCII(s) || f.IsNormalString(s) {
			return s
		}
		return f.String(s)
	}
}

// prepend puts prefix before a piece that is not empty.
func prepend(prefix string) normalizer {
	return func(s string) string {
		if s == "" {
			return s
		}
		return prefix + s
	}
}

func replace(from, to string) normalizer {
	return func(s string) string { return strings.ReplaceAll(s, from, to) }
}

func chain(steps []normalizer) normalizer {
	return func(s string) string {
		for _, step := range steps {
			s = step(s)
		}
		return s
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// validUTF8 replaces every maximal invalid subpart of s by U+FFFD, as Python's
// and Rust's decoders do.
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		if r != utf8.RuneError || n != 1 {
			b.WriteString(s[:n])
		} else {
			n = invalidPrefix(s)
			b.WriteRune(utf8.RuneError)
		}
		s = s[n:]
	}
	return b.String()
}

// invalidPrefix is the length of the longest start of s that a valid character
// could begin with, at least 1; s starts with an invalid sequence.
func invalidPrefix(s string) int {
	need, low, high := 0, byte(0x80), byte(0xbf)
	switch b := s[0]; {
	case b >= 0xc2 && b <= 0xdf:
		need = 1
	case b >= 0xe0 && b <= 0xef:
		need = 2
		if b == 0xe0 {
			low = 0xa0
		} else if b == 0xed {
			high = 0x9f
		}
	case b >= 0xf0 && b <= 0xf4:
		need = 3
		if b == 0xf0 {
			low = 0x90
		} else if b == 0xf4 {
			high = 0x8f
		}
	}
	n := 1
	for ; n <= need && n < len(s) && s[n] >= low && s[n] <= high; n++ {
		low, high = 0x80, 0xbf
	}
	return n
}
