package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is the kind of a token.
type kind uint8

const (
	textToken  kind = iota // between tags
	printBegin             // {{
	printEnd
	blockBegin // {%
	blockEnd
	name
	integer
	float
	str
	operator
	end
)

type token struct {
	kind kind
	text string // of a string, its value
	line int
}

// lexer splits a template into tokens.
type lexer struct {
	rest      string
	line      int
	lineStart bool // only a line end was read before
	tokens    []token
}

func lex(text string) (tokens []token, err error) {
	l := &lexer{rest: text, line: 1, lineStart: true}
	for l.rest != "" {
		at := nextTag(l.rest)
		if at < 0 {
			l.emit(textToken, l.rest)
			break
		}
		if err := l.tag(at); err != nil {
			return nil, err
		}
	}
	l.emit(end, "")
	return l.tokens, nil
}

func (l *lexer) emit(k kind, text string) {
	if k != textToken || text != "" {
		l.tokens = append(l.tokens, token{k, text, l.line})
	}
}

func (l *lexer) fail(text string) error {
	return &Error{Class: "TemplateSyntaxError", Line: l.line, Text: text}
}

// advance consumes n bytes.
func (l *lexer) advance(n int) {
	part := l.rest[:n]
	l.rest = l.rest[n:]
	l.line += strings.Count(part, "\n")
	if n > 0 {
		l.lineStart = part[n-1] == '\n'
	}
}

// nextTag is the index of the next {{, {% or {#, or -1.
func nextTag(s string) int {
	for from := 0; ; {
		at := strings.IndexByte(s[from:], '{')
		if at < 0 || from+at+1 >= len(s) {
			return -1
		}
		at += from
		if c := s[at+1]; c == '{' || c == '%' || c == '#' {
			return at
		}
		from = at + 1
	}
}

// tag reads the text before the tag at l.rest[at:], and the tag.
func (l *lexer) tag(at int) error {
	text, opening := l.rest[:at], l.rest[at:at+2]
	sign := byte(0)
	if at+2 < len(l.rest) && (l.rest[at+2] == '-' || l.rest[at+2] == '+') {
		sign = l.rest[at+2]
	}
	kept := text
	if sign == '-' {
		kept = strings.TrimRightFunc(text, unicode.IsSpace)
	} else if sign != '+' && opening != "{{" {
		if line := strings.LastIndexByte(text, '\n') + 1; (line > 0 || l.lineStart) && strings.TrimFunc(text[line:], unicode.IsSpace) == "" {
			kept = text[:line]
		}
	}
	l.emit(textToken, kept)
	l.advance(at)
	skip := 2
	if sign != 0 {
		skip++
	}
	switch opening {
	case "{#":
		return l.comment(skip)
	case "{{":
		l.emit(printBegin, "")
		l.advance(skip)
		return l.expression(printEnd, "}}")
	}
	if n, ok := rawTag(l.rest); ok {
		return l.raw(n)
	}
	l.emit(blockBegin, "")
	l.advance(skip)
	return l.expression(blockEnd, "%}")
}

func (l *lexer) comment(skip int) error {
	close := strings.Index(l.rest[skip:], "#}")
	if close < 0 {
		return l.fail("a comment does not end")
	}
	close += skip
	minus := close > skip && l.rest[close-1] == '-'
	plus := close > skip && l.rest[close-1] == '+'
	l.advance(close + 2)
	l.after(minus, plus)
	return nil
}

// after consumes what a closing tag removes: all white space after -, a line end unless there
// was a +.
func (l *lexer) after(minus, plus bool) {
	if minus {
		l.advance(len(l.rest) - len(strings.TrimLeftFunc(l.rest, unicode.IsSpace)))
	} else if !plus && strings.HasPrefix(l.rest, "\n") {
		l.advance(1)
	}
}

// rawTag is the length of a {% raw %} that s begins with.
func rawTag(s string) (int, bool) {
	close := strings.Index(s, "%}")
	if close < 2 || strings.Trim(s[2:close], "-+ \t\n") != "raw" {
		return 0, false
	}
	return close + 2, true
}

func (l *lexer) raw(n int) error {
	minus := strings.HasSuffix(l.rest[:n], "-%}")
	l.advance(n)
	l.after(minus, true) // trim_blocks leaves the line end after {% raw %}
	for from := 0; ; {
		at := strings.Index(l.rest[from:], "{%")
		if at < 0 {
			return l.fail("a raw block does not end")
		}
		at += from
		close := strings.Index(l.rest[at:], "%}")
		if close >= 2 && strings.Trim(l.rest[at+2:at+close], "-+ \t\n") == "endraw" {
			text, tag := l.rest[:at], l.rest[at:at+close+2]
			kept := text
			if strings.HasPrefix(tag, "{%-") {
				kept = strings.TrimRightFunc(text, unicode.IsSpace)
			} else if line := strings.LastIndexByte(text, '\n') + 1; line > 0 && !strings.HasPrefix(tag, "{%+") && strings.TrimSpace(text[line:]) == "" {
				kept = text[:line]
			}
			l.emit(textToken, kept)
			l.advance(at + len(tag))
			l.after(strings.HasSuffix(tag, "-%}"), strings.HasSuffix(tag, "+%}"))
			return nil
		}
		from = at + 2
	}
}

var operators = []string{"**", "==", "!=", ">=", "<=", "//", "+", "-", "/", "*", "%", "~", "(", ")", "[", "]", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"}

// expression reads the inside of a tag, up to its closing mark.
func (l *lexer) expression(closing kind, mark string) error {
	var open []byte
	for {
		l.advance(len(l.rest) - len(strings.TrimLeftFunc(l.rest, unicode.IsSpace)))
		if l.rest == "" {
			return l.fail("a tag does not end")
		}
		if len(open) == 0 {
			for _, sign := range []string{"-", "+", ""} {
				if strings.HasPrefix(l.rest, sign+mark) && !(sign == "+" && closing == printEnd) {
					l.emit(closing, "")
					l.advance(len(sign) + 2)
					if closing == blockEnd || sign == "-" {
						l.after(sign == "-", sign == "+" || closing == printEnd)
					}
					return nil
				}
			}
		}
		if err := l.token(&open); err != nil {
			return err
		}
	}
}

func (l *lexer) token(open *[]byte) error {
	c, _ := utf8.DecodeRuneInString(l.rest)
	switch {
	case c == '"' || c == '\'':
		return l.string(byte(c))
	case c >= '0' && c <= '9':
		l.number()
		return nil
	case c == '_' || unicode.IsLetter(c):
		n := strings.IndexFunc(l.rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if n < 0 {
			n = len(l.rest)
		}
		l.emit(name, l.rest[:n])
		l.advance(n)
		return nil
	}
	for _, op := range operators {
		if !strings.HasPrefix(l.rest, op) {
			continue
		}
		switch op {
		case "(", "[", "{":
			*open = append(*open, op[0])
		case ")", "]", "}":
			if n := len(*open); n == 0 || strings.IndexByte("([{", (*open)[n-1]) != strings.IndexByte(")]}", op[0]) {
				return l.fail("unexpected '" + op + "'")
			}
			*open = (*open)[:len(*open)-1]
		}
		l.emit(operator, op)
		l.advance(len(op))
		return nil
	}
	return l.fail("unexpected char '" + string(c) + "'")
}

func (l *lexer) number() {
	n := 0
	digits := func() {
		for n < len(l.rest) && (l.rest[n] >= '0' && l.rest[n] <= '9' || l.rest[n] == '_') {
			n++
		}
	}
	k := integer
	digits()
	if n+1 < len(l.rest) && l.rest[n] == '.' && l.rest[n+1] >= '0' && l.rest[n+1] <= '9' {
		k = float
		n++
		digits()
	}
	if n < len(l.rest) && (l.rest[n] == 'e' || l.rest[n] == 'E') {
		before := n
		n++
		if n < len(l.rest) && (l.rest[n] == '+' || l.rest[n] == '-') {
			n++
		}
		if from := n; n < len(l.rest) {
			digits()
			if n > from {
				k = float
			} else {
				n = before
			}
		}
	}
	l.emit(k, strings.ReplaceAll(l.rest[:n], "_", ""))
	l.advance(n)
}

// string reads a quoted string with Python's escapes.
func (l *lexer) string(quote byte) error {
	var b strings.Builder
	for i := 1; i < len(l.rest); i++ {
		c := l.rest[i]
		switch {
		case c == quote:
			l.emit(str, b.String())
			l.advance(i + 1)
			return nil
		case c != '\\' || i+1 == len(l.rest):
			b.WriteByte(c)
		default:
			i++
			n, err := unescape(&b, l.rest[i:])
			if err != "" {
				return l.fail(err)
			}
			i += n - 1
		}
	}
	return l.fail("a string does not end")
}

// simple are the one-character escapes.
var simple = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': "\"", 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '\n': ""}

// unescape writes the character of the escape at the start of s, and returns the escape's
// length.
func unescape(b *strings.Builder, s string) (n int, fault string) {
	if text, ok := simple[s[0]]; ok {
		b.WriteString(text)
		return 1, ""
	}
	digits, base := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]], rune(16)
	from := 1
	if s[0] >= '0' && s[0] <= '7' {
		digits, base, from = 3, 8, 0
	}
	if digits == 0 {
		b.WriteByte('\\')
		b.WriteByte(s[0])
		return 1, ""
	}
	value, n := rune(0), from
	for ; n < len(s) && n < from+digits; n++ {
		d := strings.IndexByte("0123456789abcdef", s[n]|0x20)
		if s[n] >= '0' && s[n] <= '9' {
			d = int(s[n] - '0')
		}
		if d < 0 || rune(d) >= base {
			break
		}
		value = value*base + rune(d)
	}
	if base == 16 && n != from+digits {
		return 0, "a truncated \\" + s[:1] + " escape"
	}
	b.WriteRune(value)
	return n, ""
}
