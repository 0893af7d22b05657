package report

import (
	"fmt"
	"strings"
	"unicode"
)

// markdown escapes a text from data or a configuration so that Markdown shows it literally: no
// markup, no HTML, no line break, no control or direction character.
func markdown(s string) string {
	var b strings.Builder
	for i, r := range s {
		edge := i == 0 || i+1 == len(s)
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case strings.ContainsRune("\\`*[]|~", r), edge && strings.ContainsRune("_#", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			fmt.Fprintf(&b, "\\\\u%04x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// code puts a text into Markdown's backticks, one more than the longest run of them in the
// text.
func code(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, s)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// WriteTable writes rows, of which the first is the header, as a Markdown table.
func WriteTable(b *strings.Builder, rows [][]string) {
	for i, r := range rows {
		for _, cell := range r {
			b.WriteString("| " + markdown(cell) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(r)) + "|\n")
		}
	}
}
