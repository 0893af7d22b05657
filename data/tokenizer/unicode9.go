package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Hugging Face's tokenizers normalise with the tables of Unicode 9: a newer character neither
// decomposes nor composes, and keeps its place among marks.

// young are the characters to which Unicode 10 to 15 have given a decomposition, a combining
// class or a part in a composition.
var young = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x07fd, 0x07fd, 1},
		{0x0898, 0x089f, 1},
		{0x08ca, 0x08d3, 1},
		{0x09fe, 0x09fe, 1},
		{0x0c3c, 0x0c3c, 1},
		{0x0d3b, 0x0d3c, 1},
		{0x0eba, 0x0eba, 1},
		{0x1715, 0x1715, 1},
		{0x1abf, 0x1ace, 1},
		{0x1df6, 0x1dfa, 1},
		{0x32ff, 0x32ff, 1},
		{0xa7f2, 0xa7f4, 1},
		{0xa82c, 0xa82c, 1},
		{0xab69, 0xab69, 1},
	},
	R32: []unicode.Range32{
		{0x10781, 0x10785, 1},
		{0x10787, 0x107b0, 1},
		{0x107b2, 0x107ba, 1},
		{0x10d24, 0x10d27, 1},
		{0x10eab, 0x10eac, 1},
		{0x10efd, 0x10eff, 1},
		{0x10f46, 0x10f50, 1},
		{0x10f82, 0x10f85, 1},
		{0x11070, 0x11070, 1},
		{0x1133b, 0x1133b, 1},
		{0x1145e, 0x1145e, 1},
		{0x11839, 0x1183a, 1},
		{0x11930, 0x11930, 1},
		{0x11935, 0x11935, 1},
		{0x11938, 0x11938, 1},
		{0x1193d, 0x1193e, 1},
		{0x11943, 0x11943, 1},
		{0x119e0, 0x119e0, 1},
		{0x11a34, 0x11a34, 1},
		{0x11a47, 0x11a47, 1},
		{0x11a99, 0x11a99, 1},
		{0x11d42, 0x11d42, 1},
		{0x11d44, 0x11d45, 1},
		{0x11d97, 0x11d97, 1},
		{0x11f41, 0x11f42, 1},
		{0x16ff0, 0x16ff1, 1},
		{0x1e030, 0x1e06d, 1},
		{0x1e08f, 0x1e08f, 1},
		{0x1e130, 0x1e136, 1},
		{0x1e2ae, 0x1e2ae, 1},
		{0x1e2ec, 0x1e2ef, 1},
		{0x1e4ec, 0x1e4ef, 1},
		{0x1f16c, 0x1f16c, 1},
		{0x1fbf0, 0x1fbf9, 1},
	},
}

func isYoung(r rune) bool {
	return r >= 0x07fd && (r < 0x3400 || r > 0x9fff) && (r < 0xac00 || r > 0xd7a3) && unicode.Is(young, r)
}

// form is one of Unicode's normal forms, as of Unicode 9.
func form(f norm.Form) normalizer {
	return func(s string) string {
		if isASCII(s) {
			return s
		}
		at := strings.IndexFunc(s, isYoung)
		if at < 0 {
			return normalForm(f, s)
		}
		var out strings.Builder
		for at >= 0 {
			_, width := utf8.DecodeRuneInString(s[at:])
			end := at + width
			out.WriteString(normalForm(f, s[:at]))
			out.WriteString(s[at:end])
			s = s[end:]
			at = strings.IndexFunc(s, isYoung)
		}
		out.WriteString(normalForm(f, s))
		return out.String()
	}
}
