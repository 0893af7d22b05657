package sim

import (
	"fmt"
	"strings"
)

// SyntaxError is PTX text that the decoder does not accept: an unknown opcode or modifier, a
// wrong operand, an unsupported construct.
type SyntaxError struct {
	Module string // the name given to LoadModule
	Line   int    // of the PTX text
	Text   string // that line
	Msg    string
}

// Error names module, line, the text of the line and what is wrong with it.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s:%d: %s: %s", e.Module, e.Line, strings.TrimSpace(e.Text), e.Msg)
}

type token struct {
	text string
	line int
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c == '%' || c == '.' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// lex splits PTX text into words (an opcode with all its modifiers is one word), strings
// with their quotes, and single characters. Comments are skipped.
func lex(src string) ([]token, error) {
	out := make([]token, 0, len(src)/4)
	line, i := 1, 0
	for i < len(src) {
		c := src[i]
		switch {
		case c == '\n':
			line++
			i++
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case strings.HasPrefix(src[i:], "//"):
			for i < len(src) && src[i] != '\n' {
				i++
			}
		case strings.HasPrefix(src[i:], "/*"):
			n := strings.Index(src[i+2:], "*/")
			if n < 0 {
				return nil, &SyntaxError{Line: line, Msg: "comment without an end"}
			}
			line += strings.Count(src[i:i+n+4], "\n")
			i += n + 4
		case c == '"':
			n := strings.IndexAny(src[i+1:], "\"\n")
			if n < 0 || src[i+1+n] == '\n' {
				return nil, &SyntaxError{Line: line, Msg: "string without an end"}
			}
			out = append(out, token{src[i : i+n+2], line})
			i += n + 2
		case isWord(c):
			j := wordEnd(src, i)
			out = append(out, token{src[i:j], line})
			i = j
		default:
			out = append(out, token{src[i : i+1], line})
			i++
		}
	}
	return out, nil
}

// wordEnd includes "::" in the word, as in shared::cta, but not a label's colon.
func wordEnd(src string, i int) int {
	for i < len(src) {
		switch {
		case isWord(src[i]):
			i++
		case strings.HasPrefix(src[i:], "::"):
			i += 2
		default:
			return i
		}
	}
	return i
}
