package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"dataflex.dev/dataflex/data/tokenizer/regex"
)

// A normalizer rewrites a piece of text.
type normalizer func(s string) string

// normalForm applies a normal form to a text without characters newer than the form's Unicode
// version.
func normalForm(f norm.Form, s string) string {
	if longestMarks(s) < streamSafe {
		if f.IsNormalString(s) {
			return s
		}
		return f.String(s)
	}
	return manyMarks(f, s)
}

// streamSafe is the number of consecutive marks after which x/text inserts a U+034F (Unicode's
// stream-safe format), which no other library does.
const streamSafe = 30

// longestMarks is the longest run of combining characters, each counted as the characters it
// decomposes to.
func longestMarks(s string) int {
	longest, run := 0, 0
	for i, r := range s {
		if r < 0x300 || r >= 0x3400 && r <= 0x9fff || r >= 0xac00 && r <= 0xd7a3 { // Latin, Han, Hangul: no marks
			run = 0
			continue
		}
		p := norm.NFKD.PropertiesString(s[i:])
		if p.CCC() == 0 && p.LeadCCC() == 0 {
			run = 0
		}
		run += max(1, len(p.Decomposition())/2)
		longest = max(longest, run)
	}
	return longest
}

// manyMarks normalises a text with long runs of marks by the definition (Unicode 16, section
// 3.11): decompose, order by combining class, compose.
func manyMarks(f norm.Form, s string) string {
	compatible := f == norm.NFKC || f == norm.NFKD
	var runes []rune
	for _, r := range s {
		full := norm.NFD
		if compatible {
			full = norm.NFKD
		}
		runes = append(runes, []rune(full.String(string(r)))...)
	}
	for i := 1; i < len(runes); i++ {
		for j := i; j > 0 && class(runes[j]) != 0 && class(runes[j-1]) > class(runes[j]); j-- {
			runes[j], runes[j-1] = runes[j-1], runes[j]
		}
	}
	if f == norm.NFC || f == norm.NFKC {
		runes = compose(runes)
	}
	return string(runes)
}

// class is a character's canonical combining class.
func class(r rune) uint8 { return norm.NFD.PropertiesString(string(r)).CCC() }

// compose joins each starter with the marks after it that are not blocked.
func compose(runes []rune) []rune {
	out := runes[:0:0]
	starter := -1
	for _, r := range runes {
		c := class(r)
		if starter >= 0 {
			last := len(out) - 1
			if blocked := last > starter && (class(out[last]) >= c || class(out[last]) == 0); !blocked {
				if joined := []rune(norm.NFC.String(string([]rune{out[starter], r}))); len(joined) == 1 {
					out[starter] = joined[0]
					continue
				}
			}
		}
		if c == 0 {
			starter = len(out)
		}
		out = append(out, r)
	}
	return out
}

// strip removes white space at the ends.
func strip(left, right bool) normalizer {
	return func(s string) string {
		if left {
			s = strings.TrimLeftFunc(s, unicode.IsSpace)
		}
		if right {
			s = strings.TrimRightFunc(s, unicode.IsSpace)
		}
		return s
	}
}

// stripAccents removes combining marks.
func stripAccents(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, s)
}

// replaceAll replaces every match by to.
func replaceAll(pattern *regex.Regexp, to string) normalizer {
	return func(s string) string {
		var b strings.Builder
		step := regexStep{pattern: pattern}
		step.parts(s, func(from, end int, match bool) {
			if match {
				b.WriteString(to)
			} else {
				b.WriteString(s[from:end])
			}
		})
		return b.String()
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

// invalidPrefix is the length of the longest prefix of s that could begin a valid character, at
// least 1; s starts with an invalid sequence.
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

// lowercase lowers character by character; the one that becomes two is the Turkish capital I
// with a dot.
func lowercase(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, "İ", "i\u0307"))
}
