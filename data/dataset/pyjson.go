package dataset

import (
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// pythonJSON re-serialises a JSON value as Python's json.dumps(json.loads(v),
// ensure_ascii=False) does: ", " and ": " between things, keys in order, floats by
// repr, only control characters, quotes and backslashes escaped.
func pythonJSON(v jsontext.Value) string {
	var b strings.Builder
	writePython(&b, v)
	return b.String()
}

func writePython(b *strings.Builder, v jsontext.Value) {
	first := true
	comma := func() {
		if !first {
			b.WriteString(", ")
		}
		first = false
	}
	switch v.Kind() {
	case '{':
		b.WriteByte('{')
		// The value was read before, so that walking it cannot fail.
		_ = eachMember(v, func(name []byte, v jsontext.Value) error {
			comma()
			writePythonString(b, string(name))
			b.WriteString(": ")
			writePython(b, v)
			return nil
		})
		b.WriteByte('}')
	case '[':
		b.WriteByte('[')
		_ = eachElement(v, func(v jsontext.Value) error {
			comma()
			writePython(b, v)
			return nil
		})
		b.WriteByte(']')
	case '"':
		writePythonString(b, unquote(v))
	case '0':
		b.WriteString(pythonNumber(string(v)))
	default:
		b.Write(v)
	}
}

func writePythonString(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\b':
			b.WriteString(`\b`)
		case c == '\f':
			b.WriteString(`\f`)
		case c < 0x20:
			b.WriteString(`\u00`)
			b.WriteString(strconv.FormatUint(uint64(c)|0x100, 16)[1:])
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}

// pythonNumber writes a JSON number as Python reads and writes it: whole numbers as
// they stand ("-0" is 0), others by float's repr.
func pythonNumber(n string) string {
	if !strings.ContainsAny(n, ".eE") {
		if n == "-0" {
			return "0"
		}
		return n
	}
	f, err := strconv.ParseFloat(n, 64)
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case err != nil:
		panic("dataset: a JSON number that does not parse: " + n)
	}
	// repr: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
	if size := math.Abs(f); size != 0 && (size < 1e-4 || size >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}
