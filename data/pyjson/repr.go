package pyjson

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// Str is Python's str(v), and what str.format makes of v.
func Str(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return Repr(v)
}

// Repr is Python's repr(v) of a decoded value.
func Repr(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		return reprString(v)
	case float64:
		switch {
		case math.IsNaN(v):
			return "nan"
		case math.IsInf(v, 1):
			return "inf"
		case math.IsInf(v, -1):
			return "-inf"
		}
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = Repr(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case Object:
		parts := make([]string, len(v))
		for i, f := range v {
			parts[i] = reprString(f.Key) + ": " + Repr(f.Value)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return Encode(v, 0)
}

// reprString is repr(str): single quotes, unless the text has single quotes and no double
// quotes.
func reprString(s string) string {
	quote := '\''
	if strings.ContainsRune(s, '\'') && !strings.ContainsRune(s, '"') {
		quote = '"'
	}
	var b strings.Builder
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r >= 0x7f && r <= 0xff && !printable(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		case printable(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteRune(quote)
	return b.String()
}

// printable is str.isprintable: no control, format, surrogate, private or unassigned
// character, and no space but ' '.
func printable(r rune) bool { return r == ' ' || strconv.IsPrint(r) && !unicode.IsSpace(r) }
