package yamlfile

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Position is where a key or value was written: in a file, or in an override.
type Position struct {
	File         string
	Line, Column int    // 1-based; 0 where unknown
	Override     string // "key=value" as given on the command line; then there is no line
	lines        []string
}

// String is "file:line:column" or "override 'key=value'".
func (p Position) String() string {
	switch {
	case p.Override != "":
		return fmt.Sprintf("override '%s'", p.Override)
	case p.Line == 0:
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Errorf makes an error at this position. %w works as in fmt.Errorf.
func (p Position) Errorf(format string, args ...any) *Error {
	return &Error{Pos: p, Err: fmt.Errorf(format, args...)}
}

// Error is an error at one place of a document.
type Error struct {
	Pos Position
	Err error // what is wrong, without the place
}

func (e *Error) Unwrap() error { return e.Err }

// Error is one line "place: message", followed by the offending line and a caret where the
// place is in a file.
func (e *Error) Error() string {
	message := fmt.Sprintf("%s: %v", e.Pos, e.Err)
	if e.Pos.Line < 1 || e.Pos.Line > len(e.Pos.lines) {
		return message
	}
	number := fmt.Sprintf("%4d | ", e.Pos.Line)
	margin := strings.Repeat(" ", len(number)-2) + "| "
	line, indent := excerpt(e.Pos.lines[e.Pos.Line-1], e.Pos.Column)
	return message + "\n" + number + line + "\n" + margin + indent + "^"
}

// excerpt is the part of a line around a column, and white space as wide as the text before
// that column; tabs stay tabs. Control characters, which would reach the terminal, are written
// as escapes.
func excerpt(line string, column int) (part, indent string) {
	const around = 100
	var text, before strings.Builder
	for n, r := range []rune(line) { // from 0
		if n < column-1-around || n >= column-1+around {
			continue
		}
		shown := string(r)
		if r != '\t' && !unicode.IsGraphic(r) {
			shown = strings.Trim(strconv.QuoteRune(r), "'")
		}
		text.WriteString(shown)
		switch {
		case n >= column-1:
		case r == '\t':
			before.WriteByte('\t')
		default:
			before.WriteString(strings.Repeat(" ", len([]rune(shown))))
		}
	}
	return text.String(), before.String()
}
