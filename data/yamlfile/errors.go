package yamlfile

import (
	"fmt"
	"strings"
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

// Errorf makes an error that points here. %w works as in fmt.Errorf.
func (p Position) Errorf(format string, args ...any) *Error {
	return &Error{Pos: p, Err: fmt.Errorf(format, args...)}
}

// Error is a complaint about one place of a document.
type Error struct {
	Pos Position
	Err error // what is wrong, without the place
}

func (e *Error) Unwrap() error { return e.Err }

// Error is one line "place: complaint", followed by the offending line and a caret
// where the place is in a file.
func (e *Error) Error() string {
	message := fmt.Sprintf("%s: %v", e.Pos, e.Err)
	if e.Pos.Line < 1 || e.Pos.Line > len(e.Pos.lines) {
		return message
	}
	line := e.Pos.lines[e.Pos.Line-1]
	number := fmt.Sprintf("%4d | ", e.Pos.Line)
	margin := strings.Repeat(" ", len(number)-2) + "| "
	return message + "\n" + number + line + "\n" + margin + indentTo(line, e.Pos.Column) + "^"
}

// indentTo is white space as wide as the first column-1 characters of line; tabs stay tabs.
func indentTo(line string, column int) string {
	var b strings.Builder
	n := 1
	for _, r := range line {
		if n >= column {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
		n++
	}
	return b.String()
}
