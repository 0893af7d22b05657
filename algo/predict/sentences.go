package predict

import (
	"regexp"
	"strings"
	"unicode"
)

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
