package predict

import (
	"regexp"
	"strings"
	"unicode"
)

// hasHan reports whether jieba would use its dictionary for a text.
func hasHan(s string) bool { return strings.ContainsFunc(s, isHan) }

func isHan(r rune) bool { return r >= 0x4e00 && r <= 0x9fd5 }

var (
	// block is what jieba processes as a unit; every other character is a word.
	block = regexp.MustCompile(`[a-zA-Z0-9+#&._%\-]+`)
	// listed are the five words of the dictionary without Chinese characters.
	listed = regexp.MustCompile(`AT&T|[cC]\+\+|[cC]#`)
	// word is letters and digits, including forms such as 3.14 or 50%.
	word = regexp.MustCompile(`[a-zA-Z0-9]+(?:\.[0-9]+)?%?`)

	character = regexp.MustCompile(`(?s)\r\n|.`)
)

// cut is jieba.cut of a text without Chinese characters (jieba 0.42.1 __init__.py cut, finalseg
// cut). Text between words other than spaces is split into characters outside of blocks, and
// left together within them.
func cut(text string) (out []string) {
	characters := func(s string) { out = append(out, character.FindAllString(s, -1)...) }
	split(text, block, characters, func(b string) {
		split(b, listed, func(s string) {
			split(s, word, func(rest string) { out = append(out, rest) }, func(w string) { out = append(out, w) })
		}, func(w string) { out = append(out, w) })
	})
	return out
}

// split calls match with the matches of r in s and other with the text between them, in order.
func split(s string, r *regexp.Regexp, other, match func(string)) {
	at := 0
	for _, m := range r.FindAllStringIndex(s, -1) {
		if m[0] > at {
			other(s[at:m[0]])
		}
		match(s[m[0]:m[1]])
		at = m[1]
	}
	if at < len(s) {
		other(s[at:])
	}
}

// sentenceEnds are where rouge_chinese breaks a text into lines (rouge.py cut_sent).
var sentenceEnds = []*regexp.Regexp{
	regexp.MustCompile(`([。！？?])([^”’])`),
	regexp.MustCompile(`(\.{6})([^”’])`),
	regexp.MustCompile(`(…{2})([^”’])`),
	regexp.MustCompile(`([。！？?][”’])([^，。！？?])`),
}

func sentences(text string) []string {
	for _, end := range sentenceEnds {
		text = end.ReplaceAllString(text, "$1\n$2")
	}
	return strings.Split(strings.TrimRightFunc(text, isSpace), "\n")
}

// fields is Python's split().
func fields(s string) []string { return strings.FieldsFunc(s, isSpace) }

// isSpace is Python's: Unicode's spaces and the four separators of ASCII.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
